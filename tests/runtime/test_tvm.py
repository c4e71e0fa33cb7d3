"""Networks compiled with TVM compute what PyTorch computes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from hwcomp.devices.agent.libraries import Library
from hwcomp.lowering.tvm import compile_library
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.stages import Stages, cache_root
from hwcomp.target import load
from hwcomp.tracing import trace

TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def stages(tmp_path_factory):
    return Stages(tmp_path_factory.mktemp("tvm"))


@pytest.fixture
def compiled(stages):
    def compiled(network, *inputs):
        program = trace(network.eval(), inputs)
        return compile_library(program, vectors_of(load("host").isa), 2, stages)

    return compiled


@pytest.fixture
def check(compiled):
    """Compile a network for inputs of some shapes, and compare."""

    def check(network, *shapes):
        generator = torch.Generator().manual_seed(0)
        inputs = [torch.randn(shape, generator=generator) for shape in shapes]
        library = Library(compiled(network, *inputs), 2)
        names = [item.name for item in library.get_inputs()]
        found = library.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
        with torch.no_grad():
            expected = network(*inputs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert len(found) == len(expected) == len(library.get_outputs())
        for here, there in zip(expected, found, strict=True):
            assert there.shape == tuple(here.shape)
            largest = float(here.abs().max()) or 1.0
            assert np.abs(there - here.numpy()).max() <= TOLERANCE * largest

    return check


class Function(nn.Module):
    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def sparse(convolution, share, rows, *, empty=0):
    """Set blocks of a weight to zero, and whole filters."""
    weight = convolution.weight.data
    generator = torch.Generator().manual_seed(1)
    blocks = torch.rand(-(-len(weight) // rows), *weight.shape[1:], generator=generator) < share
    weight *= ~blocks.repeat_interleave(rows, 0)[: len(weight)]
    weight[:empty] = 0
    return convolution


@pytest.mark.parametrize(
    ("convolution", "shape"),
    [
        (nn.Conv2d(8, 16, 1), (1, 8, 12, 12)),
        (nn.Conv2d(8, 16, 1, stride=2), (1, 8, 13, 11)),
        (nn.Conv2d(8, 16, 1, padding=1), (1, 8, 9, 9)),
        (nn.Conv2d(3, 16, 3, padding=1), (1, 3, 14, 17)),
        (nn.Conv2d(3, 7, 3, stride=2, padding=1, bias=False), (1, 3, 17, 19)),
        (nn.Conv2d(4, 6, (3, 5), padding=(1, 2)), (1, 4, 15, 13)),
        (nn.Conv2d(4, 8, 7, stride=2, padding=3), (1, 4, 30, 30)),
        (nn.Conv2d(4, 8, 3, stride=3), (1, 4, 16, 16)),
        (nn.Conv2d(16, 8, 3, padding=1), (1, 16, 2, 2)),
        (nn.Conv2d(8, 8, 3, padding=2, dilation=2), (1, 8, 12, 12)),
        (nn.Conv2d(8, 8, 3, padding=1, groups=2), (1, 8, 12, 12)),
        (nn.Conv2d(8, 8, 3, padding=1), (2, 8, 12, 12)),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (1, 8, 12, 12)),
        (nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), (1, 8, 13, 15)),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False), (1, 8, 7, 7)),
        (nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8), (1, 8, 14, 14)),
    ],
)
def test_convolutions(check, convolution, shape):
    check(nn.Sequential(convolution, nn.ReLU6()), shape)


@pytest.mark.parametrize(
    "convolution",
    [
        sparse(nn.Conv2d(16, 16, 1), 0.8, 4),
        sparse(nn.Conv2d(16, 18, 3, padding=1), 0.8, 4),
        sparse(nn.Conv2d(16, 18, 3, padding=1), 0.9, 1),
        sparse(nn.Conv2d(16, 16, 1), 0.8, 1, empty=6),
        sparse(nn.Conv2d(16, 16, 1), 0.0, 1, empty=16),
        sparse(nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False), 0.0, 1, empty=16),
    ],
)
def test_sparse_convolutions(check, convolution):
    check(convolution, (1, 16, 15, 15))


def test_zeros_make_the_kernel_smaller(compiled):
    dense, pruned = nn.Conv2d(256, 256, 3), sparse(nn.Conv2d(256, 256, 3), 0.9, 4)
    x = torch.randn(1, 256, 4, 4)
    assert len(compiled(pruned, x)) < len(compiled(dense, x)) / 2


def test_residual_connections(check):
    wide = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    check(Function(lambda self, x: torch.relu(self.a(x) + x), a=wide), (1, 8, 14, 14))
    check(Function(lambda self, x: torch.relu(self.a(x) + x), a=nn.Conv2d(8, 8, 1)), (1, 8, 14, 14))
    check(Function(lambda self, x: self.a(x) + self.b(x), a=nn.Conv2d(8, 8, 1), b=nn.Conv2d(8, 8, 1)), (1, 8, 14, 14))
    check(Function(lambda self, x: (y := self.a(x)) + y, a=nn.Conv2d(8, 8, 1)), (1, 8, 14, 14))
    grouped = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    check(Function(lambda self, x: torch.relu(self.a(x) + x), a=grouped), (1, 8, 14, 14))


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.MaxPool2d(3, 2, 1), (1, 8, 15, 17)),
        (nn.MaxPool2d(2, 2, ceil_mode=True), (1, 8, 13, 11)),
        (nn.MaxPool2d((1, 3), (2, 1)), (1, 8, 12, 12)),
        (nn.AvgPool2d(3, 2, 1), (1, 8, 15, 17)),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (1, 8, 15, 17)),
        (nn.AvgPool2d((2, 3), 3), (1, 8, 14, 17)),
        (nn.AdaptiveAvgPool2d(1), (1, 8, 13, 13)),
    ],
)
def test_pooling(check, pool, shape):
    check(pool, shape)


@pytest.mark.parametrize("shape", [(1, 40), (3, 40), (4, 40), (6, 40), (2, 5, 40)])
@pytest.mark.parametrize("outputs", [3, 64, 100])
def test_linear_layers(check, shape, outputs):
    check(nn.Linear(40, outputs), shape)


@pytest.mark.parametrize(
    "function",
    [nn.SiLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.Sigmoid(), nn.Tanh(), nn.Hardswish(), nn.Softmax(-1)],
)
def test_activations_far_from_zero(check, function):
    check(Function(lambda self, x: self.f(60 * x), f=function), (1, 4, 33, 20))


def test_a_transformer_block(check):
    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads, self.norm, self.other = heads, nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x):
            batch, tokens, width = x.shape
            q, k, v = self.qkv(self.norm(x)).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            scores = torch.softmax(q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5, -1)
            x = x + self.out((scores @ v).transpose(1, 2).reshape(batch, tokens, width))
            return x + self.mlp(self.other(x))

    check(Block(64, 2), (1, 21, 64))


def test_squeeze_and_excitation(check):
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.SiLU(), nn.Conv2d(4, 8, 1), nn.Sigmoid())
    check(Function(lambda self, x: x * self.gate(x), gate=gate), (1, 8, 14, 14))


def test_two_inputs_and_two_outputs(check):
    check(Function(lambda self, x, y: (self.a(x) + y, x - y), a=nn.Conv2d(8, 8, 1)), (1, 8, 7, 7), (1, 8, 7, 7))


SCRIPT = """
import sys, numpy as np
from hwcomp.devices.agent.libraries import Library
library = Library(sys.argv[1], 1)
found = library.run(None, {library.get_inputs()[0].name: np.load(sys.argv[2])})
np.save(sys.argv[3], found[0])
maps = open("/proc/self/maps").read()
assert "libtvm_runtime" in maps
assert "libtvm_compiler" not in maps and "libLLVM" not in maps, "the compiler is loaded"
assert "tvm" not in sys.modules
"""


def test_only_the_runtime_is_needed(compiled, tmp_path):
    network, x = nn.Conv2d(8, 8, 3), torch.randn(1, 8, 9, 9)
    (tmp_path / "model.so").write_bytes(compiled(network, x))
    np.save(tmp_path / "x.npy", x.numpy())
    names = [str(tmp_path / name) for name in ("model.so", "x.npy", "y.npy")]
    environment = {**os.environ, "HWCOMP_CACHE": str(cache_root())}
    subprocess.run([sys.executable, "-c", SCRIPT, *names], check=True, env=environment)
    np.testing.assert_allclose(np.load(names[2]), network(x).detach().numpy(), atol=1e-4)
