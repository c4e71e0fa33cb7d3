"""How a model wishes to be run on a GPU: by which provider, in which precisions, and as a CUDA graph.

The driver is a stand-in, and ONNX Runtime's processor plays the GPU; see `gpu_stand_ins`.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from gpu_stand_ins import FEED, H200, STAND_IN, Driver, Open, network, refusal
from onnx import TensorProto, helper

from hwcomp.devices.agent import sessions
from hwcomp.devices.agent.captured import Captured
from hwcomp.devices.agent.sessions import open_session
from hwcomp.devices.agent.wire import Refused
from hwcomp.devices.agent.wishes import Wishes, wishes_of
from hwcomp.errors import DeviceError, LoweringError
from hwcomp.lowering.metadata import with_entry

GRAPH = Wishes("cuda", (), True)


def wishing(wishes: Wishes, model: bytes | None = None) -> bytes:
    return with_entry(network() if model is None else model, b"hwcomp.wishes", wishes.written())


@pytest.mark.parametrize("wishes", [Wishes(), GRAPH, Wishes("tensorrt", ("float16", "int8"), True)])
def test_a_model_keeps_its_wishes_and_stays_what_it_is(wishes: Wishes, tmp_path: Path) -> None:
    model = wishing(wishes)
    (tmp_path / "model.onnx").write_bytes(model)
    assert wishes_of(model) == wishes_of(str(tmp_path / "model.onnx")) == wishes
    onnx.checker.check_model(onnx.load_model_from_string(model))
    found = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    bare = onnxruntime.InferenceSession(network(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(found.run(None, FEED)[0], bare.run(None, FEED)[0])
    assert "hwcomp.wishes" in found.get_modelmeta().custom_metadata_map


def test_a_model_without_wishes() -> None:
    assert wishes_of(network()) is None


@pytest.mark.parametrize("change", [(b'"graph"', b'"grape"'), (b'"cuda"', b'"npu0"'), (b"{", b"["), (b"00", b"zz")])
def test_wishes_that_are_damaged(change: tuple[bytes, bytes], driver: Driver, opened: Open) -> None:
    driver.set(H200)
    start, _, end = wishing(GRAPH).rpartition(change[0])
    model = start + change[1] + end
    with pytest.raises(Refused):
        wishes_of(model)
    assert "The model cannot be used: " in refusal(LoweringError, lambda: opened().time_block(model, FEED, 1))


class Opened:
    """Stands in for a session, where all providers are there: what it is opened with."""

    given: dict[str, dict[str, str]]
    entries: dict[str, str]

    def __init__(self, source: Any, options: Any, *, providers: Any, enable_fallback: int) -> None:
        type(self).given = dict(providers)
        assert not enable_fallback
        assert options.get_session_config_entry("session.disable_quant_qdq") == "1"

    def get_providers(self) -> list[str]:
        return list(self.given)


@pytest.fixture
def all_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU")]
    monkeypatch.setattr(sessions, "check_provider", lambda _: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Opened)


@pytest.mark.usefixtures("all_providers")
def test_what_tensorrt_is_given() -> None:
    """Zeros may be left out; precisions that the model permits; and its engine is kept, for this model alone."""
    folders = set()
    for precisions in ((), ("float16", "int8"), ("bfloat16",)):
        open_session(wishing(Wishes("tensorrt", precisions)), 1, provider="tensorrt")
        assert list(Opened.given) == [f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU")]
        given = Opened.given["TensorrtExecutionProvider"]
        assert given["trt_sparsity_enable"] == "1"
        assert Opened.given["CUDAExecutionProvider"] == {}
        names = {found[1] for name in given if (found := re.fullmatch(r"trt_(fp16|bf16|int8)_enable", name))}
        assert names == {{"float16": "fp16", "bfloat16": "bf16", "int8": "int8"}[one] for one in precisions}
        assert given["trt_engine_cache_enable"] == "1"
        assert Path(given["trt_engine_cache_path"]).is_dir()
        folders.add(given["trt_engine_cache_path"])
    assert len(folders) == 3


def test_the_package_of_tensorrt_is_loaded_first(driver: Driver, opened: Open) -> None:
    """Its libraries lie inside it, and are found once it is imported."""
    driver.set(H200)
    (driver.folder / "tensorrt.py").write_text("raise RuntimeError('here it is')\n")
    has_it = ("if PROVIDERS[provider] not in ort.get_available_providers():", "if False:")
    with pytest.raises(LoweringError, match="here it is"):
        opened(has_it, provider="tensorrt").run(network(), FEED, 1)


@pytest.mark.usefixtures("all_providers")
def test_what_cuda_is_given() -> None:
    open_session(network(), 1, provider="cuda")
    assert Opened.given == {"CUDAExecutionProvider": {}, "CPUExecutionProvider": {}}


def test_options_of_cuda_graphs() -> None:
    assert GRAPH.options() == {"enable_cuda_graph": "1"}
    assert Wishes("tensorrt", (), True).options()["trt_cuda_graph_enable"] == "1"
    assert "trt_cuda_graph_enable" not in Wishes("tensorrt").options()


def test_a_captured_session_gives_what_a_usual_one_does(driver: Driver, opened: Open) -> None:
    """Inputs and outputs stay in place: a second run must not see the first one's."""
    driver.set(H200)
    device, other = opened(*STAND_IN), {"x": np.array([[5.0, 1.0, -7.0, 0.5]], np.float32)}
    for feed in (FEED, other, FEED):
        (expected,), (found,) = device.run(network(), feed, 1), device.run(wishing(GRAPH), feed, 1)
        np.testing.assert_array_equal(found, expected)
    assert len(device.time_block(wishing(GRAPH), FEED, 1, runs=9)) == 9
    assert {owner.name for owner in device.kernel_times(wishing(GRAPH), FEED, 1, 7, 1)} == {"a", "b"}


def test_a_captured_session_takes_new_inputs_in_place() -> None:

    session = Captured(onnxruntime.InferenceSession(network(), providers=["CPUExecutionProvider"]), "cpu")
    plain = onnxruntime.InferenceSession(network(), providers=["CPUExecutionProvider"])
    first = session.run(None, FEED)[0]
    second = session.run(None, {"x": -FEED["x"]})[0]
    np.testing.assert_array_equal(first, plain.run(None, FEED)[0])  # it is not written over by the second run
    np.testing.assert_array_equal(second, plain.run(None, {"x": -FEED["x"]})[0])
    assert [item.name for item in (*session.get_inputs(), *session.get_outputs())] == ["x", "y"]


def test_outputs_that_no_graph_can_write() -> None:

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    with pytest.raises(Refused, match=r"output 'y' has type tensor\(float\) and shape .* cannot write"):
        Captured(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]), "cpu")


def test_the_model_decides_which_provider_runs_it(driver: Driver, opened: Open) -> None:
    driver.set(H200)
    device = opened(*STAND_IN)
    device.time_block(wishing(Wishes("cuda")), FEED, 1, runs=7)
    sentence = refusal(DeviceError, lambda: device.time_block(wishing(Wishes("tensorrt")), FEED, 1))
    assert "has no TensorrtExecutionProvider" in sentence
    assert len(opened(provider="cpu").time_block(wishing(Wishes("tensorrt")), FEED, 1, runs=7)) == 7
