"""Small networks to be compiled for a GPU, and what to ask of what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwcomp import benches
from hwcomp.config import CompileConfig, Fastest
from hwcomp.manifest import Manifest
from hwcomp.pipeline import compile_workload
from hwcomp.uniform import timing
from hwcomp.workload import Workload


class Attention(nn.Module):
    """A linear layer, an attention, and another linear layer; most weights are in linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(2, 6, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(2, 6, 32))
        return result


class Images(nn.Module):
    """Convolutions, a residual addition and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x))
        result: Tensor = self.fc((y + self.b(y)).mean((2, 3)))
        return result


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "attention": (Attention, (2, 6, 32)),
    "images": (Images, (2, 3, 16, 16)),
}


def workload(name: str, **more: Any) -> Workload:
    torch.manual_seed(0)
    kind, shape = NETWORKS[name]
    return Workload(name=name, model=kind().eval(), example_inputs=(torch.randn(shape),), **more)


def file_of(tmp_path: Path) -> bytes:
    return (tmp_path / "out" / "model.onnx").read_bytes()


def refusals(manifest: Manifest) -> dict[str, str]:
    return {version.name: version.refused for version in manifest.versions if version.refused}


def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Manifest]:
    """Return what compiles for a GPU; where one is given, on a device that is opened as it says."""
    monkeypatch.setenv("HWCOMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(timing, "ROUNDS", 2)

    def compiled(given: Workload, device: Any = None, **options: Any) -> Manifest:
        monkeypatch.setattr(benches, "open_device", lambda *_: device())
        where = {} if device is None else {"device": "ssh://gpu"}
        budget = options.pop("budget", Fastest(1.0))
        config = CompileConfig(target="gpu", budget=budget, out=tmp_path / "out", calibration=4, **where, **options)
        return compile_workload(given, config).report

    return compiled
