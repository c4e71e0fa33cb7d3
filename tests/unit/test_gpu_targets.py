"""GPUs on paper: known by their names, with what their hardware can do, and a roofline for each."""

import pytest

from hwcomp.cost_models.roofline import Roofline
from hwcomp.default_passes import default_passes
from hwcomp.kernels import kernels_of, search_space
from hwcomp.plugins import names
from hwcomp.program import run_passes
from hwcomp.target import Target, load
from hwcomp.tracing import trace

GPUS = [name for name in names("hwcomp.targets", ".toml") if load(name).gpu is not None]


def peak_tera(target: Target) -> tuple[float, float]:
    """Return the peaks in float32 TFLOP/s and int8 TOP/s."""
    hardware = target.hardware
    cycles = hardware.cores * hardware.clock_ghz / 1e3
    return cycles * hardware.float_flop_per_cycle, cycles * hardware.int8_op_per_cycle


@pytest.mark.parametrize(
    ("name", "float_tera", "int8_tera"),
    [
        ("nvidia_h200", 67, 1979),
        ("nvidia_a100", 19.5, 624),
        ("nvidia_l4", 30.3, 242.5),
        ("nvidia_t4", 8.1, 130),
        ("nvidia_jetson_orin", 5.3, 85),
    ],
)
def test_the_peaks_are_those_of_the_data_sheets(name: str, float_tera: float, int8_tera: float) -> None:
    assert peak_tera(load(name)) == (pytest.approx(float_tera, rel=0.01), pytest.approx(int8_tera, rel=0.01))


@pytest.mark.parametrize(
    ("name", "product", "is_one"),
    [
        ("nvidia_l4", "NVIDIA L4", True),
        ("nvidia_l4", "NVIDIA L40S", False),
        ("nvidia_t4", "Tesla T4", True),
        ("nvidia_t4", "NVIDIA T400", False),
        ("nvidia_h200", "NVIDIA H200", True),
        ("nvidia_h200", "NVIDIA GH200 480GB", False),
        ("nvidia_a100", "NVIDIA A100-SXM4-80GB", True),
        ("nvidia_a100", "NVIDIA A100-SXM4-40GB", False),
        ("nvidia_jetson_orin", "Orin (nvgpu)", True),
    ],
)
def test_a_gpu_is_known_by_a_word_of_its_name(name: str, product: str, is_one: bool) -> None:
    gpu = load(name).gpu
    assert gpu is not None
    assert gpu.is_called(product) is is_one


@pytest.mark.parametrize("name", GPUS)
def test_precisions_belong_to_the_generation(name: str) -> None:
    gpu = load(name).gpu
    assert gpu is not None
    generation = float(gpu.capability)
    assert {"float32", "float16", "int8"} <= set(gpu.precisions)
    assert ({"tf32", "bfloat16"} <= set(gpu.precisions)) is (generation >= 8.0)
    assert ("fp8" in gpu.precisions) is (generation >= 8.9)
    assert gpu.structured_sparsity is (generation >= 8.0)


@pytest.mark.parametrize("name", GPUS)
def test_there_is_a_roofline(name: str, make_network) -> None:
    tiny = make_network("chain")
    target = load(name)
    program = run_passes(trace(tiny.model, tiny.inputs), default_passes(target))
    table = Roofline(target=target, threads=target.hardware.cores).cost_table(
        search_space(program), kernels_of(program, target.activation)
    )
    assert table.provenance == "analytic"
    assert table.predict_us({}) > target.hardware.kernel_overhead_us
