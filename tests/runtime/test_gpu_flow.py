"""Compiling for a GPU from end to end: every version of a network takes its turn, and the report tells.

The driver is a stand-in, and ONNX Runtime's processor plays the GPU's CUDA provider; see `gpu_stand_ins`.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from archives import write_archive
from gpu_networks import compiler, file_of, refusals, workload
from gpu_stand_ins import FEED, H200, STAND_IN, Driver, Open, network, refusal
from onnx import TensorProto
from rich.console import Console
from ssh_server import MISSING, REASON, Server
from torch import Tensor, nn

import hwcomp
from hwcomp.config import Fastest, Precision
from hwcomp.devices import open_device
from hwcomp.devices import ssh as ssh_module
from hwcomp.devices.agent.wishes import wishes_of
from hwcomp.devices.throttling import UnthrottledDevice
from hwcomp.errors import DeviceError, DeviceLost, InputError
from hwcomp.kernel import parse
from hwcomp.manifest import Manifest
from hwcomp.matching import check_matches
from hwcomp.quick_subject import quick_subject
from hwcomp.report import render_terminal
from hwcomp.report_html import render_html
from hwcomp.store import KernelRow, Setting, Store
from hwcomp.target import load
from hwcomp.tracing import trace
from hwcomp.workload import Workload

SLOW = ("session.run_with_iobinding(binding)", "import time; time.sleep(0.02); session.run_with_iobinding(binding)")
"""What is no CUDA graph takes longer."""


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Manifest]:
    return compiler(tmp_path, monkeypatch)


def test_every_version_takes_its_turn(
    driver: Driver, opened: Open, compiled: Callable[..., Manifest], tmp_path: Path
) -> None:
    driver.set(H200)
    manifest = compiled(workload("attention"), partial(opened, *STAND_IN, SLOW), runtime="onnxruntime")
    names = {version.name for version in manifest.versions if not version.refused}
    cuda = {"float32", "float16", "float16, attention in one kernel", "weight8", "weight4"}
    assert {f"ONNX Runtime, CUDA, {name}" for name in cuda} <= names
    assert {f"ONNX Runtime, TensorRT, {name}" for name in ("float16", "bfloat16", "int8")} == set(refusals(manifest))
    assert all("has no TensorrtExecutionProvider" in reason for reason in refusals(manifest).values())
    (taken,) = [version for version in manifest.versions if version.taken]
    assert taken.name.endswith(", as a CUDA graph"), "it is the only one that does not sleep"
    assert manifest.target.provider == "cuda"
    assert manifest.runtime.provider_options == {"enable_cuda_graph": "1"}
    assert taken.latency_us == manifest.compiled.latency_us.median
    assert manifest.compiled.latency_us.provenance == "measured"
    wishes = wishes_of(file_of(tmp_path))
    assert wishes is not None
    assert wishes.graph
    for shown in (text_of(manifest), render_html(manifest)):
        assert "attention in one kernel" in shown
        assert "not compared" in shown


def text_of(manifest: Manifest) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(render_terminal(manifest))
    return captured.get()


def test_a_device_that_goes_away_ends_it_with_one_sentence(
    driver: Driver, opened: Open, compiled: Callable[..., Manifest]
) -> None:
    driver.set(H200)
    gone = ("last_us = 0.0", "import os; os._exit(3)")  # when it is first asked for a time
    with pytest.raises(DeviceLost) as lost:
        compiled(workload("images"), partial(opened, *STAND_IN, gone), runtime="onnxruntime")
    assert str(lost.value).count("child") == 1


def test_a_runtime_without_gpus_is_told_once(driver: Driver, opened: Open, compiled: Callable[..., Manifest]) -> None:
    """There is a driver, but ONNX Runtime's build for processors."""
    driver.set(H200)
    ask = partial(compiled, workload("images"), opened, precision="float16", runtime="onnxruntime")
    sentence = refusal(DeviceError, ask)
    assert "has no CUDAExecutionProvider; run `pip uninstall" in sentence
    assert sentence.endswith("no other version of the network can run there either.")


def test_a_graph_that_is_no_faster_is_not_taken(
    driver: Driver, opened: Open, compiled: Callable[..., Manifest], tmp_path: Path
) -> None:
    """Its inputs and outputs would be held in place for nothing."""
    driver.set(H200)
    slow = ("self._session.run_with_iobinding", "import time; time.sleep(0.02); self._session.run_with_iobinding")
    manifest = compiled(
        workload("images"), partial(opened, *STAND_IN, slow), precision="float32", runtime="onnxruntime"
    )
    assert [version.taken for version in manifest.versions if "CUDA graph" in version.name] == [False]
    (taken,) = [version for version in manifest.versions if version.taken]
    assert taken.latency_us == manifest.compiled.latency_us.median
    wishes = wishes_of(file_of(tmp_path))
    assert wishes is not None
    assert not wishes.graph


def test_without_a_device_what_shows_its_rounding_is_compared(compiled: Callable[..., Manifest]) -> None:
    manifest = compiled(workload("images"))
    assert {version.name for version in manifest.versions} == {
        "ONNX Runtime, CUDA, float32", "ONNX Runtime, CUDA, float16", "ONNX Runtime, TensorRT, int8",
    }  # fmt: skip
    assert manifest.compiled.latency_us.provenance == "analytic"
    off = {version.name.rpartition(" ")[2]: version.distance for version in manifest.versions}
    assert off["float32"] == 0
    assert 0 < off["float16"] < 0.01
    assert off["float16"] < off["int8"] < 0.1


@pytest.mark.parametrize(
    ("precision", "provider", "types"),
    [
        ("float16", "cuda", {TensorProto.FLOAT16}),
        ("bfloat16", "tensorrt", {TensorProto.FLOAT}),  # TensorRT rounds where that is faster
        ("int8", "tensorrt", {TensorProto.FLOAT, TensorProto.INT8}),
        ("weight8", "cuda", {TensorProto.FLOAT16, TensorProto.UINT8}),
        ("weight4", "cuda", {TensorProto.FLOAT16, TensorProto.UINT8}),
    ],
)
def test_one_precision_for_the_whole_network(
    precision: Precision, provider: str, types: set[int], compiled: Callable[..., Manifest], tmp_path: Path
) -> None:
    """What is in the file, and that it computes about the same, here and with plain ONNX Runtime."""
    given = workload("images")
    manifest = compiled(given, precision=precision)
    assert (manifest.runtime.precision, manifest.target.provider) == (precision, provider)
    graph = onnx.load_model_from_string(file_of(tmp_path)).graph
    assert {one.data_type for one in graph.initializer} - {TensorProto.INT64} == types
    assert ("trt_int8_enable" in manifest.runtime.provider_options) == (precision == "int8")
    assert ("trt_bf16_enable" in manifest.runtime.provider_options) == (precision == "bfloat16")
    x = given.example_inputs[0]
    with torch.no_grad():
        expected = given.model(x).numpy()
    plain = onnxruntime.InferenceSession(file_of(tmp_path), providers=["CPUExecutionProvider"])
    (found,) = plain.run(None, {plain.get_inputs()[0].name: x.numpy()})
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)
    loaded = hwcomp.load(tmp_path / "out", provider="cpu")(x)
    np.testing.assert_allclose(loaded.numpy(), found, atol=1e-5)


def test_a_hard_swish_stays_one_operator(compiled: Callable[..., Manifest], tmp_path: Path) -> None:
    """GPUs have a kernel for it; on processors it is written as two."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    compiled(Workload(name="swish", model=model, example_inputs=(torch.randn(1, 3, 8, 8),)), precision="weight8")
    kinds = [node.op_type for node in onnx.load_model_from_string(file_of(tmp_path)).graph.node]
    assert kinds.count("HardSwish") == 1
    assert "HardSigmoid" not in kinds


def test_the_program_has_the_rounding_of_the_file(compiled: Callable[..., Manifest], tmp_path: Path) -> None:
    compiled(workload("images"), precision="int8")
    source = (tmp_path / "out" / "program" / "network.py").read_text()
    assert "fake_quantize_per_tensor_affine" in source


def test_a_network_without_what_the_precision_is_for(compiled: Callable[..., Manifest]) -> None:
    class Convolution(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(3, 4, 3))

    given = Workload(name="conv", model=Convolution().eval(), example_inputs=(torch.randn(1, 3, 8, 8),))
    with pytest.raises(InputError, match="no operator that has the precision asked for"):
        compiled(given, precision="weight4")


def test_labels_decide_where_there_are_any(compiled: Callable[..., Manifest]) -> None:
    """They are the network's own answers, so that the float network loses nothing; what was not taken was not asked."""
    given = workload("images")
    x = torch.randn(40, 3, 16, 16)
    with torch.no_grad():
        labels = torch.cat([given.model(x[i : i + 2]).argmax(1) for i in range(0, 40, 2)])
    batches = [(x[i : i + 2], labels[i : i + 2]) for i in range(0, 40, 2)]
    labelled = workload("images", train_data=lambda: batches, eval_data=lambda: batches)
    manifest = compiled(labelled, budget=Fastest(0.0))
    (taken,) = [version for version in manifest.versions if version.taken]
    assert taken.drop == 0.0
    assert {version.drop for version in manifest.versions if version is not taken} == {None}
    assert manifest.compiled.accuracy == manifest.baseline.accuracy == 100.0


class Fragile(nn.Module):
    """One of its layers has weights that 8 bits do not hold: a few large ones, and many that matter."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(16)))
        self.last = nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            weight = self.layers[7].weight
            weight[:, 0] = 300.0  # of a channel that is next to nothing
            self.layers[6].weight[0] *= 1e-4
            assert self.layers[6].bias is not None
            self.layers[6].bias[0] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + 0.1 * torch.tanh(layer(x))
        result: Tensor = self.last(x)
        return result


def test_operators_that_integers_harm_stay_in_halves(compiled: Callable[..., Manifest]) -> None:
    torch.manual_seed(0)
    given = Workload(name="fragile", model=Fragile().eval(), example_inputs=(torch.randn(2, 8, 12, 12),))
    everywhere = compiled(given, precision="int8", budget=Fastest(None))
    (only,) = everywhere.versions
    assert only.distance is not None
    strict = compiled(given, precision="int8", budget=Fastest(only.distance / 0.3 / 2))
    (taken,) = [version for version in strict.versions if version.taken]
    match = re.search(r"but (\d+) of (\d+) operators$", taken.name)
    assert match is not None
    assert len(strict.assignment) == int(match[2]) - int(match[1])
    assert set(strict.assignment) < set(everywhere.assignment)
    assert taken.distance is not None
    assert taken.distance <= only.distance / 2


@pytest.mark.skipif(MISSING, reason=REASON)
def test_a_gpu_behind_ssh(
    driver: Driver, server: Server, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real ssh server; what travels is the agent with its stand-ins, which it finds there."""
    driver.set(H200)
    provided = 'CPU, CUDA, TENSORRT = "cpu", "cuda", "tensorrt"'
    there = (
        f"import os, sys; os.environ['FAKE_NVML'] = {str(driver.plan_path)!r}; "
        f"sys.path.insert(0, {str(driver.folder)!r}); {provided}"
    )
    path = write_archive(tmp_path / "agent.zip", *STAND_IN, (provided, there))
    monkeypatch.setattr(ssh_module, "archive", path.read_bytes)
    monkeypatch.setenv("HWCOMP_PATIENCE", "0")
    with open_device(server.address(python), load("gpu")) as device:
        assert isinstance(device, UnthrottledDevice)
        check_matches(device, load("gpu"))
        assert device.facts().gpus[0].name == "NVIDIA H200"
        assert len(device.time_block(network(), FEED, 8, runs=9)) == 9
        assert {owner.name for owner in device.kernel_times(network(), FEED, 8, 7, 1)} == {"a", "b"}
        (found,) = device.run(network(), FEED, 8)
        assert found.shape == (1, 4)
        driver.set({**H200, "reasons": 0x40, "clock": 1200, "temperature": 91})
        assert "slowed down while measured" in refusal(DeviceError, lambda: device.time_block(network(), FEED, 1))
    with open_device(server.address(python), load("nvidia_t4")) as other:
        assert "its GPU is 'NVIDIA H200'" in refusal(InputError, lambda: check_matches(other, load("nvidia_t4")))


def test_the_manifest_of_a_gpu_is_read_again(compiled: Callable[..., Manifest], tmp_path: Path) -> None:
    written = compiled(workload("images"), precision="int8")
    assert Manifest.model_validate(json.loads((tmp_path / "out" / "manifest.json").read_text())) == written


def test_a_table_of_such_a_gpu_stands_in_for_the_roofline(compiled: Callable[..., Manifest], tmp_path: Path) -> None:
    """Versions that it does not know are not compared with those that it knows, unless it knows none."""
    given, target = workload("images"), load("gpu")
    subject = quick_subject(trace(given.model, given.example_inputs), target)
    device = "gpu: NVIDIA H200 | compute: 9.0 | provider: cuda | cpu: any"
    store = Store(tmp_path / "store.sqlite")
    store.add_kernels(
        Setting(device=device, runtime="onnxruntime 1.31.1", threads=1),
        [
            KernelRow(
                kernel=key, method="network", median_us=us, p10_us=us, p90_us=us, runs=9, date="2026-11-30",
                provenance="measured",
            )
            for key in subject.kernels.keys
            for us in (2.0 if parse(key).scheme == "float16" else 10.0,)
        ],
    )  # fmt: skip
    manifest = compiled(given, store=store.path)
    known = {version.name: version.speedup for version in manifest.versions if not version.refused}
    assert set(known) == {"ONNX Runtime, CUDA, float32", "ONNX Runtime, CUDA, float16"}
    assert known["ONNX Runtime, CUDA, float16"] > 3
    assert (
        "float32 and float16 of ONNX Runtime's CUDA provider alone"
        in refusals(manifest)["ONNX Runtime, TensorRT, int8"]
    )
    assert manifest.compiled.latency_us.provenance == "measured"
    assert any("of a table, measured on gpu: NVIDIA H200" in note for note in manifest.notes)
    on_paper = compiled(given, store=store.path, precision="int8")
    assert on_paper.compiled.latency_us.provenance == "analytic"


def test_what_would_be_compared_is_told_without_doing_it(cli: Any, tiny_source: str) -> None:
    source = cli.write(tiny_source)
    said = cli.succeeds("compile", source, "--target", "gpu", "--dry-run")
    assert "compared on paper: no device is given: ONNX Runtime, CUDA, float32; ONNX Runtime, CUDA, float16" in said
    assert not (cli.folder / "build").exists()
    assert "float17" in cli("compile", source, "--target", "gpu", "--dry-run", "--precision", "float17").sentence()
    t4 = ("compile", source, "--target", "nvidia_t4", "--dry-run", "--precision", "bfloat16")
    assert "multiplies in float32, float16, int8, not in bfloat16" in cli(*t4).sentence()
    assert "These are for methods that train" in cli.succeeds("doctor", source, "--target", "gpu")
