"""The operators of the library of sparse kernels, in ONNX Runtime, against its own."""

import itertools
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_models import Case

from hwcomp.devices.agent.machine import facts
from hwcomp.errors import LoweringError
from hwcomp.lowering.embedded import embed
from hwcomp.lowering.onnxruntime import open_session
from hwcomp.sparse_kernels.library import build
from hwcomp.sparse_kernels.tir_build import INSTRUCTION_SETS, Vectors, tile_object
from hwcomp.stages import Stages, cache_root

SIZES = (1, 2, 7, 14, 15, 28)
PADS = ((0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (0, 1, 2, 0), (0, 0, 1, 1))


def difference(case: Case, threads: int = 1) -> float:
    (expected,) = open_session(case.plain(), 1).run(None, case.feed)
    (found,) = open_session(case.own(), threads).run(None, case.feed)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0)))


@st.composite
def cases(draw: st.DrawFn, *, depthwise: bool) -> Case:
    kernel, pads = draw(st.sampled_from((3, 5, 7) if depthwise else (1, 3, 5))), draw(st.sampled_from(PADS))
    sizes = st.sampled_from([size for size in SIZES if size + min(pads[0] + pads[2], pads[1] + pads[3]) >= kernel])
    low, high = draw(st.sampled_from([(-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-0.5, 0.5)]))
    return Case(
        size=(draw(sizes), draw(sizes)), kernel=kernel, pads=pads, stride=draw(st.integers(1, 2 if depthwise else 3)),
        channels=draw(st.integers(1, 40)), out_channels=draw(st.integers(1, 70)), batch=draw(st.integers(1, 2)),
        rows=draw(st.sampled_from((1, 4, 8, 16))), density=draw(st.sampled_from((0.0, 0.1, 0.5, 1.0))),
        residual=not depthwise and draw(st.booleans()), low=low, high=high, depthwise=depthwise,
        seed=draw(st.integers(0, 999)),
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(case=cases(depthwise=False), threads=st.sampled_from((1, 2)))
def test_sparse_convolutions_are_right(case: Case, threads: int) -> None:
    assert difference(case, threads) < 1e-4


@settings(max_examples=60, deadline=None)
@given(case=cases(depthwise=True), threads=st.sampled_from((1, 2)))
def test_depthwise_convolutions_are_right(case: Case, threads: int) -> None:
    assert difference(case, threads) < 1e-4


@pytest.mark.parametrize(
    "vectors", [one for one in INSTRUCTION_SETS if one.flags <= set(facts()["isa"])], ids=lambda one: one.cpu
)
@pytest.mark.parametrize("from_tvm", [False, True])
def test_all_vectors_and_inner_loops_agree(vectors: Vectors, from_tvm: bool) -> None:
    built = build(vectors, [tile_object(vectors, Stages(cache_root()))] if from_tvm else []).read_bytes()
    for rows, size, residual in itertools.product((1, 4, 8, 16), (7, 15, 28), (False, True)):
        case = Case(size=(size, size), rows=rows, residual=residual, out_channels=30, low=-0.5, high=0.5)
        (expected,) = open_session(case.plain(), 1).run(None, case.feed)
        (found,) = open_session(embed(case.bare(), built), 2).run(None, case.feed)
        assert np.allclose(found, expected, atol=1e-4)
    case = Case(size=(29, 5), depthwise=True)
    (expected,) = open_session(case.plain(), 1).run(None, case.feed)
    assert np.allclose(open_session(embed(case.bare(), built), 1).run(None, case.feed)[0], expected, atol=1e-4)


NARROW = [
    Vectors(flags=frozenset({"sse2"}), lanes=4, registers=16, triple="x86_64-unknown-linux-gnu", cpu="x86-64")
]  # what the library does with vectors of four, as ARM's
HERE = [one for one in (*INSTRUCTION_SETS, *NARROW) if one.flags <= set(facts()["isa"])]


@pytest.mark.parametrize("vectors", HERE, ids=lambda one: one.cpu)
def test_depthwise_convolutions_of_all_vectors_read_nothing_but_their_own_channel(vectors: Vectors) -> None:
    built = build(vectors).read_bytes()
    for kernel, stride, size in itertools.product((3, 5, 7), (1, 2), (4, 7, 8, 14, 16, 28, 32, 41)):
        pads = (kernel // 2, kernel // 2, kernel // 2, (kernel - 1) // 2)
        case = Case(size=(size, size), kernel=kernel, stride=stride, pads=pads, channels=5, depthwise=True, density=1.0)
        x = case.feed["x"]
        (expected,) = open_session(case.plain(), 1).run(None, {"x": x})
        x[0, 1::2] = np.nan
        (found,) = open_session(embed(case.bare(), built), 1).run(None, {"x": x})
        assert np.allclose(found[0, ::2], expected[0, ::2], atol=1e-4)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (4, 1), (9, 1), (3, 3)])
def test_depthwise_kernels_that_there_are_not_are_refused(kernel: int, stride: int) -> None:
    with pytest.raises(LoweringError, match="hwcomp::DepthwiseConv: there is no kernel of this size and stride"):
        open_session(Case(kernel=kernel, stride=stride, depthwise=True).own(), 1)


def test_what_is_not_a_number_stays_none() -> None:
    for case in (Case(low=0.0, high=6.0, density=1.0), Case(low=0.0, high=6.0, depthwise=True, density=1.0)):
        x = case.feed["x"]
        x[0, :, 5, 5] = np.nan
        (found,) = open_session(case.own(), 1).run(None, {"x": x})
        wrong = np.zeros_like(found, bool)
        wrong[..., 4:7, 4:7] = True
        assert np.array_equal(np.isnan(found), wrong)


@pytest.mark.parametrize(("rows", "residual", "pads"), itertools.product((1, 4, 8, 16), (False, True), PADS[:2]))
def test_large_ones_are_right_when_threads_share_the_work(rows: int, residual: bool, pads: tuple[int, ...]) -> None:
    shared = {"size": (56, 56), "channels": 64, "out_channels": 62, "rows": rows, "residual": residual, "low": 0.0}
    assert difference(Case(kernel=3, pads=pads, **shared), 2) < 1e-4
    assert difference(Case(kernel=1, pads=(0, 0, 0, 0), **shared), 2) < 1e-4


def test_large_depthwise_ones_are_right_when_threads_share_the_work() -> None:
    for stride in (1, 2):
        assert difference(Case(size=(57, 56), channels=96, stride=stride, depthwise=True, density=1.0), 2) < 1e-4


def test_a_tensor_of_one_column_may_lack_its_last_dimension() -> None:
    case = Case(size=(197, 1), kernel=1, pads=(0, 0, 0, 0), channels=24, out_channels=30)
    whole = open_session(case.own(), 1).run(None, case.feed)[0]
    import onnx

    model = onnx.load_model_from_string(case.own())
    for value in (model.graph.input[0], model.graph.output[0]):
        del value.type.tensor_type.shape.dim[3]
    found = open_session(model.SerializeToString(), 1).run(None, {"x": case.feed["x"][..., 0]})[0]
    assert found.shape == (1, 30, 197)
    assert np.array_equal(found, whole[..., 0])


@pytest.mark.parametrize("depthwise", [False, True])
def test_threads_may_run_one_session_at_once(depthwise: bool) -> None:
    case = Case(size=(28, 28), channels=48, out_channels=40, depthwise=depthwise)
    session = open_session(case.own(), 2)
    feeds = [{"x": case.feed["x"] * scale} for scale in (1.0, -2.0, 3.0, 0.5)]
    expected = [session.run(None, feed)[0] for feed in feeds]
    wrong: list[int] = []

    def run(index: int) -> None:
        wrong.extend(
            index for _ in range(60) if not np.array_equal(session.run(None, feeds[index])[0], expected[index])
        )

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(feeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


BROKEN = {
    "a column outside": ({"c": np.array([0, 108], np.int32), "v": np.ones(8, np.float32)}, "column lies outside"),
    "a negative column": ({"c": np.array([0, -1], np.int32), "v": np.ones(8, np.float32)}, "column lies outside"),
    "starts that fall": ({"s": np.array([0, 2, 1, 2, 2], np.int32)}, "starts must not decrease"),
    "starts that miss": ({"s": np.array([0, 1, 1, 1, 1], np.int32)}, "starts do not span"),
    "a short bias": ({"b": np.ones(15, np.float32)}, "sizes of values, columns, starts and bias do not agree"),
    "too few values": ({"v": np.ones(7, np.float32)}, "sizes of values, columns, starts and bias do not agree"),
    "rows": ({"rows": 2}, "no kernel for so many rows"),
    "no channels": ({"out_channels": 0}, "no kernel for so many rows"),
    "strides": ({"strides": [0, 1]}, "strides must be 1 to 16"),
    "a kernel": ({"kernel": [17, 3]}, "kernel is larger than the padded image"),
    "an input": ({"input": [12, 1 << 30, 14]}, "input is too large"),
    "few sizes": ({"input": [12, 14]}, "the attribute has too few values"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_weights_are_refused_before_anything_runs(name: str) -> None:
    changed, said = BROKEN[name]
    two = {"c": np.array([0, 1], np.int32), "v": np.ones(8, np.float32), "s": np.array([0, 1, 2, 2, 2], np.int32)}
    with pytest.raises(LoweringError, match=said):
        open_session(Case().own(**(two | changed)), 1)


def test_an_input_of_another_shape_is_refused() -> None:
    case = Case()
    session = open_session(case.own(input=[12, 14, 15]), 1)
    with pytest.raises(Exception, match="hwcomp::SparseConv: the input has another shape than its attribute says"):
        session.run(None, case.feed)


EVERY_FUNCTION = """
import sys
sys.path.insert(0, sys.argv[1])
from test_sparse_ops import difference, Case
from hwcomp.lowering.onnxruntime import open_session
assert difference(Case(size=(56, 56), channels=64, out_channels=62, residual=True), 2) < 1e-4
try:
    open_session(Case().own(kernel=[17, 3]), 1)
except Exception as error:
    assert "larger than the padded image" in str(error)
print("every function is where it should be")
"""


def test_the_functions_of_the_runtime_are_where_the_library_expects_them() -> None:
    import subprocess

    folder = Path(__file__).parent
    command = [sys.executable, "-c", EVERY_FUNCTION.replace("sys.argv[1]", repr(str(folder)))]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder.parent, env={"PYTHONPATH": str(folder.parent)}
    )
    assert done.stdout == "every function is where it should be\n", (done.returncode, done.stderr)
