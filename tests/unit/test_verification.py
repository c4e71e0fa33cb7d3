"""How outputs are compared: what counts as the same, as rounding, and as wrong."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwcomp.emulation.counts import Counts
from hwcomp.verification import Verification, _step, compare_outputs


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_equal_outputs_do_not_differ() -> None:
    same = [floats(1, 2, np.nan), floats(-0.0)]
    assert compare_outputs(same, [array.copy() for array in same], None) == (0, 0.0, 0.0)


def test_differences_are_relative_to_the_largest_output() -> None:
    assert compare_outputs([floats(1, -200)], [floats(2, -200)], None) == (1, pytest.approx(1 / 200), 0.0)
    differing, relative, _ = compare_outputs([floats(0, 0)], [floats(1e-9, 0)], None)
    assert (differing, relative) == (1, np.inf)


def test_steps_are_those_of_the_output_or_of_its_range() -> None:
    here, there = [floats(0.5, 2.54)], [floats(0.5, 2.50)]
    assert compare_outputs(here, there, [0.02])[2] == pytest.approx(2.0, rel=1e-3)
    assert compare_outputs(here, there, [None])[2] == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("there", [floats(np.nan, 1), floats(np.inf, 1), floats(1), np.array([1.0, 1.0])])
def test_what_is_no_number_or_another_kind_of_array_is_wrong(there: np.ndarray) -> None:
    differing, relative, steps = compare_outputs([floats(1, 1)], [there], [1.0])
    assert differing >= 1
    assert relative == np.inf
    assert steps == np.inf


def test_the_step_is_found_behind_operators_that_only_move() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["x"]),
        helper.make_node("Flatten", ["x"], ["y"]),
        helper.make_node("Relu", ["x"], ["z"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "yz"]
    scale = numpy_helper.from_array(np.float32(0.25), "scale")
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("q", TensorProto.INT8, None)], outputs, [scale]
    )
    assert _step(graph, "y") == 0.25
    assert _step(graph, "z") is None


def found(**changes: object) -> Verification:
    usual = {"fingerprint": "f", "runtime": "r", "kind": "int8", "values": 10, "differing": 0, "relative": 0.0,
             "steps": 0.0, "agrees": True}  # fmt: skip
    return Verification(**(usual | changes))  # type: ignore[arg-type]


def test_the_finding_is_one_sentence() -> None:
    assert found().sentence() == "int8: all 10 outputs are the same as here, bit by bit"
    rounded = found(differing=3, steps=1.0).sentence()
    assert (
        "3 of 10 outputs differ from those here, by 1 quantisation steps at most: a float operation rounds" in rounded
    )
    assert "the integers are the same" in found(differing=3, steps=0.01).sentence()
    assert "moves them by 12 here" in found(differing=3, steps=9.0, rounding_steps=12.0).sentence()
    assert "more than rounding" in found(differing=3, steps=9.0, agrees=False).sentence()
    assert "within 1e-04" in found(kind="fp32", differing=3, relative=2e-6).sentence()
    assert "within 2e-02" in found(kind="fp16", differing=3, relative=2e-3).sentence()
    assert "beyond 1e-04" in found(kind="fp32", differing=3, relative=2e-3, agrees=False).sentence()


def test_much_scalar_arithmetic_is_noticed() -> None:
    assert found(mix=Counts((80, 0, 0, 0, 20, 0, 0, 0, 0))).scalar
    assert not found(mix=Counts((95, 0, 0, 0, 5, 0, 0, 0, 0))).scalar
    assert not found().scalar
