"""Devices with a GPU, without one: the driver's library and tool are stand-ins, and where said the GPU's provider.

Everything else is real: agents are processes, and models run in ONNX Runtime, whose processor plays the GPU.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_stand_ins import FEED, H200, STAND_IN, T4, Child, Driver, Open, Sent, network, refusal

import hwcomp
from hwcomp.devices.agent import sessions, strays
from hwcomp.devices.agent.profiling import profile_in_child
from hwcomp.devices.agent.sessions import open_session
from hwcomp.devices.agent.strays import run_on_processor
from hwcomp.devices.agent.verbs import Agent
from hwcomp.devices.asking import describe
from hwcomp.devices.launch import LAUNCH, LAUNCH_IN_GRAPH
from hwcomp.devices.steady import Clock
from hwcomp.devices.throttling import UnthrottledDevice
from hwcomp.errors import DeviceError, DeviceMemoryError, DeviceThrottled, InputError
from hwcomp.matching import check_matches
from hwcomp.target import load


def test_what_the_drivers_library_tells(driver: Driver, opened: Open) -> None:
    driver.set({**H200, "reasons": 0x4 | 0x20, "clock": 1200})
    device = opened()
    (gpu,) = device.facts().gpus
    assert (gpu.name, gpu.compute, gpu.memory_bytes) == ("NVIDIA H200", "9.0", 141 * 2**30)
    assert (gpu.driver, gpu.cuda) == ("580.95.05", "13.0")
    assert device.facts().fingerprint.startswith("gpu: NVIDIA H200 | compute: 9.0 | provider: cuda | cpu: ")
    state = device.state().gpu
    assert state is not None
    assert (state.clock_mhz, state.max_clock_mhz, state.temperature_c) == (1200, 1980, None)
    assert state.reasons == ("power limit", "heat, by software")
    check_matches(device, load("gpu"))


def test_what_nvidia_smi_tells(driver: Driver, opened: Open) -> None:
    driver.add_smi("0, GPU-1, NVIDIA L4, 8.9, 23034, 550.54, 210, 2040, 35, 0x0000000000000048\n")
    device = opened()
    (gpu,) = device.facts().gpus
    assert (gpu.name, gpu.compute, gpu.memory_bytes) == ("NVIDIA L4", "8.9", 23034 * 2**20)
    assert (gpu.driver, gpu.cuda) == ("550.54", "12.4")
    state = device.state().gpu
    assert state is not None
    assert str(state) == "210 of 2040 MHz, 35 degrees"
    assert state.slowed == ("hardware slowdown", "heat, by hardware")


def test_a_tool_that_knows_little(driver: Driver, opened: Open) -> None:
    driver.add_smi("0, [N/A], Orin (nvgpu), [N/A], [N/A], 540.4, [N/A], [N/A], [N/A], [Not Supported]\n")
    device = opened()
    (gpu,) = device.facts().gpus
    assert (gpu.name, gpu.compute, gpu.memory_bytes) == ("Orin (nvgpu)", None, None)
    state = device.state().gpu
    assert state is not None
    assert (state.reasons, str(state)) == ((), "clock unknown")


def test_a_processor_is_the_same_device_with_and_without_a_gpu(driver: Driver, opened: Open) -> None:
    driver.set(H200)
    assert opened(provider="cpu").facts().fingerprint.startswith("cpu: ")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda _driver: None, "NVIDIA GPU"),
        (lambda driver: driver.set(error="Driver Not Loaded"), "no NVIDIA driver that answers (Driver Not Loaded)"),
        (lambda driver: driver.set(error="NVML Shared Library Not Found"), "NVIDIA GPU"),
        (lambda driver: driver.set(), "there is no NVIDIA GPU"),
        (lambda driver: driver.add_smi("No devices were found", 6), "there is no NVIDIA GPU"),
        (
            lambda driver: driver.add_smi("NVIDIA-SMI has failed because it couldn't communicate with the driver.", 9),
            "no NVIDIA driver that answers (NVIDIA-SMI has failed",
        ),
        (lambda driver: driver.set(H200, T4), "different kinds (NVIDIA H200, Tesla T4)"),
    ],
    ids=["nothing", "not loaded", "no library", "none", "smi none", "smi failed", "two kinds"],
)
def test_no_gpu_no_driver_or_two_kinds(
    driver: Driver, opened: Open, prepare: Callable[[Driver], None], said: str
) -> None:
    prepare(driver)
    assert said in refusal(DeviceError, lambda: check_matches(opened(), load("gpu")))


def test_one_of_two_kinds_is_chosen_as_cuda_chooses(driver: Driver, opened: Open) -> None:
    driver.set(T4, H200)
    check_matches(opened(CUDA_VISIBLE_DEVICES="1"), load("gpu"))
    check_matches(opened(CUDA_VISIBLE_DEVICES="GPU-aaaa"), load("gpu"))
    hidden = refusal(DeviceError, lambda: check_matches(opened(CUDA_VISIBLE_DEVICES=""), load("gpu")))
    assert "CUDA_VISIBLE_DEVICES= hides all 2 NVIDIA GPUs" in hidden


def test_another_gpu_than_the_targets(driver: Driver, opened: Open) -> None:
    driver.set(T4)
    check_matches(opened(), load("nvidia_t4"))
    sentence = refusal(InputError, lambda: check_matches(opened(), load("gpu")))
    assert "its GPU is 'Tesla T4', the target's is 'H200'" in sentence


def test_a_build_of_the_runtime_without_the_provider(driver: Driver, opened: Open) -> None:
    driver.set(H200)
    for ask in (
        lambda: opened().time_block(network(), FEED, 1),
        lambda: opened().kernel_times(network(), FEED, 1, 7, 1),
        lambda: opened(provider="tensorrt").run(network(), FEED, 1),
    ):
        sentence = refusal(DeviceError, ask)
        assert "ExecutionProvider; run `pip uninstall -y onnxruntime onnxruntime-gpu && pip install" in sentence
        assert "hwcomp[gpu]" in sentence


def test_a_driver_that_is_older_than_the_runtime(driver: Driver, opened: Open) -> None:
    driver.set(H200, cuda=12040)
    newer = ('str(getattr(built, "cuda_version", ""))', '"13.0"')
    sentence = refusal(DeviceError, lambda: opened(*STAND_IN, newer).time_block(network(), FEED, 1))
    assert "driver 580.95.05 there is for CUDA 12.4 at most" in sentence
    assert "needs CUDA 13.0: update the driver" in sentence


def test_a_provider_that_does_not_start(driver: Driver, opened: Open) -> None:
    """ONNX Runtime has it, but the session that comes has only the processor."""
    driver.set(H200)
    has_it = ("if PROVIDERS[provider] not in ort.get_available_providers():", "if False:")
    sentence = refusal(DeviceError, lambda: opened(has_it).time_block(network(), FEED, 1))
    assert "CUDAExecutionProvider of ONNX Runtime" in sentence
    assert "did not start, so that the processor would compute" in sentence
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in sentence


@pytest.mark.parametrize("verb", ["time", "profile", "run"])
def test_a_fall_back_to_the_processor_is_seen_in_the_profile(driver: Driver, opened: Open, verb: str) -> None:
    """The session claims to have the provider; a real profile tells that the processor ran everything."""
    driver.set(H200)
    claims = (
        ("if PROVIDERS[provider] not in ort.get_available_providers():", "if False:"),
        ("if PROVIDERS[provider] not in session.get_providers():", "if False:"),
    )
    device = opened(*claims)
    asks = {
        "time": lambda: device.time_block(network(), FEED, 1),
        "profile": lambda: device.kernel_times(network(), FEED, 1, 7, 1),
        "run": lambda: device.run(network(), FEED, 1),
    }
    sentence = refusal(DeviceError, asks[verb])
    assert "ran a/MatMul, b/Op on the processor, not with CUDAExecutionProvider" in sentence
    assert "hwcomp[gpu]" in sentence


def event(name: str, op: str, provider: str, *types: str) -> dict[str, Any]:
    shapes = [{one: [1]} for one in types]
    args = {"op_name": op, "provider": f"{provider}ExecutionProvider", "output_type_shape": shapes}
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": args}


def test_shapes_may_be_computed_by_the_processor() -> None:
    on_gpu = event("conv", "Conv", "CUDA", "float")
    shapes = [event("shape", "Shape", "CPU", "int64"), event("pick", "Gather", "CPU", "int64")]
    assert run_on_processor([on_gpu, *shapes], "cuda") == []
    assert run_on_processor([on_gpu, event("embed", "Gather", "CPU", "float")], "cuda") == ["embed"]
    assert run_on_processor([on_gpu, event("top", "TopK", "CPU", "int64")], "cuda") == ["top"]
    assert run_on_processor([on_gpu, *shapes], "tensorrt") == ["conv"]
    assert run_on_processor([event("trt", "TRTKernel", "Tensorrt", "float"), on_gpu], "tensorrt") == []


def test_an_agent_that_ignores_the_provider_is_not_believed(driver: Driver, opened: Open) -> None:
    driver.set(H200)
    deaf = ('name = request.get("provider", CPU)', "name = CPU")
    sentence = refusal(DeviceError, lambda: opened(deaf).time_block(network(), FEED, 1))
    assert "by 'cpu', where 'cuda' was asked to compute" in sentence


def test_an_unknown_provider_is_refused() -> None:
    answer, _ = Agent("").handle({"id": 1, "verb": "run", "provider": "npu"}, [])
    assert answer["error"] == "no provider 'npu'; there are cpu, cuda, tensorrt"


def test_a_gpu_is_timed_profiled_and_run(driver: Driver, opened: Open) -> None:
    """ONNX Runtime's processor plays the GPU: inputs are bound, kernels are waited for in a process of their own."""
    driver.set({**H200, "reasons": 0x4})
    device = opened(*STAND_IN)
    assert len(device.time_block(network(), FEED, 8, runs=9)) == 9
    assert {owner.name for owner in device.kernel_times(network(), FEED, 8, 7, 1)} == {"a", "b"}
    (out,) = device.run(network(), FEED, 8)
    product = FEED["x"] @ np.arange(16, dtype=np.float32).reshape(4, 4)
    np.testing.assert_allclose(out, product / (1 + np.abs(product)), rtol=1e-6)
    (remark,) = device.remarks()
    assert "the power limit of the GPU of 'child' held its clock below its best" in remark
    launches_us = device.launches_us()
    assert set(launches_us) == {LAUNCH.key, LAUNCH_IN_GRAPH.key}
    assert min(launches_us.values()) >= 0.0
    assert opened(provider="cpu").launches_us() == {}


@pytest.mark.parametrize("kind", [Child, Sent])
def test_who_profiles_leaves_nothing(kind: type[Child], driver: Driver, opened: Open, tmp_path: Path) -> None:
    driver.set(H200)
    (tmp_path / "tmp").mkdir()
    with opened(*STAND_IN, kind=kind, TMPDIR=str(tmp_path / "tmp")) as device:
        assert {owner.name for owner in device.kernel_times(network(), FEED, 1, 7, 1)} == {"a", "b"}
    assert list((tmp_path / "tmp").glob("hwcomp*")) == []


def test_this_process_profiles_in_a_child_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child is this very agent, wherever it is started; what happens to lie there is no module."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    described, blobs = describe(FEED)
    request = {"id": 1, "verb": "profile", "feed": described, "threads": 1, "runs": 7, "warmup": 1}
    header, (graph,) = profile_in_child(network(), request, blobs)
    assert all(len(times) == 7 for times in header["samples"].values())
    assert b"Softsign" in graph


def test_tensorrt_has_no_kernels_to_time(driver: Driver, opened: Open) -> None:
    driver.set(H200)
    device = opened(provider="tensorrt")
    sentence = refusal(DeviceError, lambda: device.kernel_times(network(), FEED, 1, 7, 1))
    assert "TensorRT runs a network as one kernel" in sentence


def test_memory_that_does_not_suffice(driver: Driver, opened: Open) -> None:
    driver.set(H200)
    full = ("session.run_with_iobinding(binding)", 'raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")')
    sentence = refusal(DeviceMemoryError, lambda: opened(*STAND_IN, full).time_block(network(), FEED, 1))
    assert "do not fit in the GPU's memory; give `example_inputs` of a smaller batch" in sentence


def test_a_gpu_that_throttles_is_measured_again_and_then_refused(driver: Driver, opened: Open) -> None:
    hot = {**H200, "reasons": 0x40, "clock": 1200, "temperature": 91}
    driver.set(hot)
    times = iter(range(1000))

    def sleep(seconds: float) -> None:
        driver.set(H200)

    with UnthrottledDevice(opened(*STAND_IN), 20.0, Clock(now=lambda: next(times), sleep=sleep)) as device:
        device.facts()
        assert len(device.time_block(network(), FEED, 1, runs=7)) == 7
        assert "measured again" in device.remarks()[0]
        driver.set(hot)
        impatient = UnthrottledDevice(device, 0.0)
        sentence = refusal(DeviceThrottled, lambda: impatient._device._device.time_block(network(), FEED, 1))
    assert "The NVIDIA H200 of 'child' slowed down while measured: heat, by hardware" in sentence
    assert "(1200 of 1980 MHz, 91 degrees)" in sentence


def test_profiling_without_the_package(cli: Any, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, with a stand-in of the driver and the ONNX Runtime that is here."""
    driver.set(H200)
    for name in ("PYTHONPATH", "FAKE_NVML"):
        monkeypatch.setenv(name, driver.environment[name])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    sentence = cli("profile", "--target", "gpu").sentence()
    assert "has no CUDAExecutionProvider; run `pip uninstall -y onnxruntime" in sentence


@pytest.fixture
def no_gpu(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine this is: its driver shows no GPU."""
    driver.set()
    for name in ("PYTHONPATH", "FAKE_NVML"):
        monkeypatch.setenv(name, driver.environment[name])


@pytest.mark.usefixtures("no_gpu")
def test_an_artifact_for_a_gpu_is_not_run_on_the_processor_unasked(cli: Any, board: Path) -> None:
    artifact = cli.folder / "artifact"
    shutil.copytree(board, artifact)
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert manifest["target"]["provider"] == "cpu"
    manifest["target"]["provider"] = "cuda"
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    for command in ("bench", "verify"):
        assert "there is no NVIDIA GPU, so nothing can be measured for a GPU" in cli(command, "artifact").sentence()
    shape = hwcomp.load(board)._session.get_inputs()[0].shape
    np.save(cli.folder / "x.npy", np.zeros(shape, np.float32))
    run = ("run", "artifact", "--input", "x.npy", "--output", "y.npy")
    assert "cannot be loaded on a GPU" in cli(*run).sentence()
    assert "There is no provider 'tpu'; give one of cpu, cuda, tensorrt." in cli(*run, "--provider", "tpu").sentence()
    cli.succeeds(*run, "--provider", "cpu")
    assert np.isfinite(np.load(cli.folder / "y.npy")).all()


def test_an_artifact_whose_session_falls_back_is_not_loaded(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session claims to have the provider; a run of zeros tells that the processor computed."""

    def on_processor(source: bytes, threads: int, folder: str | None = None, provider: str = "") -> Any:
        return open_session(source, threads, folder)

    for module in (sessions, strays):
        monkeypatch.setattr(module, "open_session", on_processor)
    sentence = refusal(DeviceError, lambda: hwcomp.load(board, provider="cuda"))
    assert "cannot be loaded on a GPU: ONNX Runtime ran" in sentence
    assert "on the processor, not with CUDAExecutionProvider" in sentence


@pytest.mark.usefixtures("no_gpu")
def test_a_device_that_is_not_the_target_is_refused_before_any_work(cli: Any, tiny_source: str) -> None:
    done = cli("compile", cli.write(tiny_source), "--target", "gpu", "--device", "local")
    assert "there is no NVIDIA GPU, so nothing can be measured for a GPU" in done.sentence()
    assert not done.out
    assert not (cli.folder / "build").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_compiling_for_a_gpu_that_is_not_here(cli: Any, tiny_source: str) -> None:
    """Estimates without a device, labelled; one sentence where it should be measured."""
    out = cli.succeeds("compile", cli.write(tiny_source), "--target", "gpu", "--calibration", 2, "--out", "artifact")
    assert "analytic" in out
    manifest = json.loads((cli.folder / "artifact" / "manifest.json").read_text())
    assert manifest["compiled"]["latency_us"]["provenance"] == "analytic"
    (taken,) = [version["name"] for version in manifest["versions"] if version["taken"]]
    assert {"cuda": "CUDA", "tensorrt": "TensorRT"}[manifest["target"]["provider"]] in taken
    measured = cli("compile", "model.py", "--target", "gpu", "--device", "local", "--calibration", 2)
    assert measured.code == 2
    assert "there is no NVIDIA GPU, so nothing can be measured for a GPU" in measured.err
