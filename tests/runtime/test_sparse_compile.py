"""A network with zeros in its weights becomes an artifact whose sparse layers run in their own kernels."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from rich.console import Console
from torch import nn

import hwcomp
from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.lowering.onnxruntime import open_session
from hwcomp.pipeline import compile_workload
from hwcomp.quick_subject import quick_subject
from hwcomp.scheme import is_sparse
from hwcomp.subject import Subject
from hwcomp.target import load
from hwcomp.tracing import trace
from hwcomp.workload import load_workload

HOST = load("host")

pytestmark = pytest.mark.skipif(not {"avx2", "asimd"} & set(HOST.isa), reason="there are no sparse kernels for it")

SOURCE = """
import torch
from torch import nn

example_inputs = (torch.randn(1, 3, 32, 32),)

def model():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(),
        nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )
    with torch.no_grad():
        for layer in (net[2], net[4]):
            kept = torch.rand(len(layer.weight) // 4, *layer.weight.shape[1:]) < 0.03
            layer.weight *= kept.repeat_interleave(4, 0)
    return net
"""


class Mixed(nn.Module):
    """A sparse and a depthwise convolution, and one with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(8, 30, 1)
        self.depthwise = nn.Conv2d(30, 30, 3, 2, 1, groups=30)
        self.project = nn.Conv2d(30, 16, 1)
        self.residual = nn.Conv2d(16, 16, 3, padding=1)
        with torch.no_grad():
            for layer in (self.expand, self.project, self.residual):
                layer.weight *= torch.rand(layer.weight.shape) < 0.15

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.project(torch.clamp(self.depthwise(torch.clamp(self.expand(x), 0, 6)), 0, 6))
        return torch.relu(self.residual(x) + x)


def mixed() -> Subject:
    torch.manual_seed(0)
    return quick_subject(trace(Mixed(), (torch.randn(1, 8, 15, 15),)), HOST)


def test_sparse_layers_mixed_with_integers_compute_what_float_does() -> None:
    subject = mixed()
    sparse = subject.space.everywhere(*{c for site in subject.space.sites for c in site.candidates if is_sparse(c)})
    assert sum(map(is_sparse, sparse.values())) == 3
    reference = outputs(subject.lower(subject.space.everywhere()), subject.feed)
    assert np.abs(outputs(subject.lower(sparse), subject.feed) - reference).max() < 1e-4 * np.abs(reference).max()
    partly = sparse | {"project": "int8"}
    assert np.abs(outputs(subject.lower(partly), subject.feed) - reference).max() < 0.05 * np.abs(reference).max()


def test_a_depthwise_convolution_beside_a_sparse_one_keeps_its_layout() -> None:
    subject = mixed()
    sparse = subject.space.everywhere(*{c for site in subject.space.sites for c in site.candidates if is_sparse(c)})
    assert b"DepthwiseConv" in subject.lower(sparse)
    assert b"DepthwiseConv" not in subject.lower(subject.space.everywhere())


def test_a_network_with_zeros_is_compiled_to_sparse_kernels(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(SOURCE)
    workload = load_workload(f"{tmp_path}/model.py")
    result = compile_workload(
        workload, CompileConfig(calibration=4, threads=1, out=tmp_path / "out"), Reporter(Console(quiet=True))
    )
    sparse = [site for site, scheme in result.report.assignment.items() if is_sparse(scheme)]
    assert sparse, "97 % of the weights are zero"
    x = torch.randn(1, 3, 32, 32)
    session = hwcomp.load(tmp_path / "out")
    plain = ort.SessionOptions()
    plain.register_custom_ops_library(str(tmp_path / "out" / "kernels.so"))
    model = ort.InferenceSession(tmp_path / "out" / "model.onnx", plain, providers=["CPUExecutionProvider"])
    assert np.array_equal(model.run(None, {model.get_inputs()[0].name: x.numpy()})[0], session(x).numpy())


def outputs(model: bytes, feed) -> np.ndarray:
    return open_session(model, 1).run(None, feed)[0]
