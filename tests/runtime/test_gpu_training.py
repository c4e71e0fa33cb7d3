"""Methods that train for a GPU, and the tables that they search by: every operator in float32 or halves.

The driver is a stand-in, and ONNX Runtime's processor plays the GPU's CUDA provider; see `gpu_stand_ins`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from gpu_networks import compiler, file_of, workload
from gpu_stand_ins import H200, STAND_IN, Driver, Open
from onnx import TensorProto
from torch import Tensor, nn

import hwcomp
from hwcomp.config import Fastest, Method, Shrinking, Speedup
from hwcomp.kernel import parse
from hwcomp.manifest import Manifest
from hwcomp.profiling import profile_kernels
from hwcomp.quick_subject import quick_subject
from hwcomp.target import load
from hwcomp.tracing import trace
from hwcomp.workload import Workload

SLOW = ("session.run_with_iobinding(binding)", "import time; time.sleep(0.02); session.run_with_iobinding(binding)")
"""What is no CUDA graph takes longer."""


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Manifest]:
    return compiler(tmp_path, monkeypatch)


class Wide(nn.Module):
    """Convolutions that are large enough for their width and precision to matter on paper."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 256), (256, 256), (256, 256)))
        self.fc = nn.Linear(256, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.a, self.b, self.c):
            x = torch.relu(layer(x))
        result: Tensor = self.fc(x.mean((2, 3)))
        return result


def trainable() -> Workload:
    torch.manual_seed(0)
    data = [(torch.randn(4, 3, 28, 28), torch.randint(0, 4, (4,))) for _ in range(2)]
    return Workload(
        name="wide", model=Wide().eval(), example_inputs=(torch.randn(4, 3, 28, 28),), train_data=lambda: data
    )


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("uniform_pruning", {"shrinking": Shrinking(rate=0.5, epochs=1)}),
        pytest.param("differentiable", {"shrinking": Shrinking(epochs=2)}, marks=pytest.mark.slow),
    ],
)
def test_methods_that_train_choose_halves_for_every_operator(
    method: Method, options: dict[str, Any], compiled: Callable[..., Manifest], tmp_path: Path
) -> None:
    budget = Fastest(None) if method == "uniform_pruning" else Speedup(2.0)
    manifest = compiled(trainable(), method=method, budget=budget, **options)
    chosen = {site.choice for site in manifest.sites}
    assert "float16" in chosen
    assert chosen <= {"float", "float16"}
    types = {one.data_type for one in onnx.load_model_from_string(file_of(tmp_path)).graph.initializer}
    assert TensorProto.FLOAT16 in types
    loaded = hwcomp.load(tmp_path / "out", provider="cpu")
    assert np.isfinite(loaded(trainable().example_inputs[0]).numpy()).all()


def test_a_table_of_a_gpu_has_kernels_in_halves(
    driver: Driver, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured of a network for methods that train: operators in both formats, and the casts between them."""
    driver.set(H200)
    monkeypatch.setenv("HWCOMP_CACHE", str(tmp_path / "cache"))
    given, target = workload("images"), load("gpu")
    subject = quick_subject(trace(given.model, given.example_inputs), target)
    device = opened(*STAND_IN)
    rows = profile_kernels(subject, (device,), 1, print)
    kernels = [parse(row.kernel) for row in rows]
    assert {kernel.scheme for kernel in kernels if kernel.op == "conv2d"} == {"float", "float16"}
    assert {(kernel.op, kernel.scheme) for kernel in kernels if kernel.op in ("quantize", "dequantize")} == {
        ("quantize", "float16"), ("dequantize", "float16"),
    }  # fmt: skip
    assert {kernel.detail for kernel in kernels if kernel.op == "launch"} == {"", "graph"}
