"""What the tests share: seeds, tiny networks of every shape of graph that matters, and a cache of their own."""

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

SEED = 7

logging.getLogger("torch.__trace").disabled = True  # pytest would keep every line of it


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(outputs)
    with torch.no_grad():
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.3, 1.5)
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.1)
    return nn.Sequential(conv, norm)


class Chain(nn.Module):
    """Convolutions, pooling and a classifier, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = conv_norm(3, 8), conv_norm(8, 12, stride=2)
        self.pool, self.drop, self.classify = nn.MaxPool2d(2), nn.Dropout(0.2), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.stem(x)))
        x = F.relu6(self.body(x))
        return self.classify(self.drop(x.mean((2, 3))))


class Residual(nn.Module):
    """A block that is added to its input, written with a method and an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = conv_norm(3, 8), conv_norm(8, 8), conv_norm(8, 8)
        self.act, self.pool, self.classify = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        x = (x + self.b(self.a(x).relu())).relu()
        return self.classify(torch.flatten(self.pool(x), 1))


class Concat(nn.Module):
    """Two branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = conv_norm(3, 6), conv_norm(6, 5, 1), conv_norm(6, 7)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.last(torch.cat([self.left(x).relu(), self.right(x).relu()], 1))


class Depthwise(nn.Module):
    """A depthwise and a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise = conv_norm(3, 8, 1), conv_norm(8, 8, 3, 1, 8)
        self.grouped = conv_norm(8, 12, 3, 2, 4)
        self.project = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.depthwise(F.relu6(self.expand(x))))
        return self.project(self.grouped(x).relu())


class SqueezeExcite(nn.Module):
    """Channels weighted by a gate that the whole image decides."""

    def __init__(self, act: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.stem, self.last = conv_norm(3, 8), nn.Conv2d(8, 4, 1)
        self.act, self.gate = act, gate
        self.pool, self.reduce, self.restore = nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        return self.last(x * self.gate(self.restore(F.relu(self.reduce(self.pool(x))))))


class Attention(nn.Module):
    """One head of attention over tokens, and a perceptron, with residuals and normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        scores = torch.softmax(self.q(y) @ self.k(y).transpose(1, 2) / 8**0.5, dim=-1)
        x = x + scores @ self.v(y)
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Perceptron(nn.Module):
    """Linear layers, one without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(33, 20), nn.Linear(20, 16, bias=False), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (Chain, (1, 3, 17, 13)),
    "residual": (Residual, (2, 3, 9, 9)),
    "concat": (Concat, (1, 3, 9, 7)),
    "depthwise": (Depthwise, (1, 3, 11, 11)),
    "squeeze_excite_silu": (lambda: SqueezeExcite(nn.SiLU(), nn.Sigmoid()), (1, 3, 9, 9)),
    "squeeze_excite_hardswish": (lambda: SqueezeExcite(nn.Hardswish(), nn.Hardsigmoid()), (1, 3, 9, 9)),
    "attention": (Attention, (1, 6, 8)),
    "perceptron": (Perceptron, (4, 33)),
}


@dataclass(frozen=True)
class Tiny:
    """A network in eval mode with inputs for it."""

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]

    def batches(self, count: int) -> list[tuple[Tensor, ...]]:
        """The inputs, and others like them."""
        generator = torch.Generator().manual_seed(SEED)
        others = [tuple(torch.randn(x.shape, generator=generator) for x in self.inputs) for _ in range(count - 1)]
        return [self.inputs, *others]


def make(name: str) -> Tiny:
    factory, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return Tiny(name, factory().eval(), (torch.randn(shape),))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``network`` on every network."""
    if "network" in metafunc.fixturenames:
        metafunc.parametrize("network", NETWORKS, indirect=True)


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Tiny:
    return make(request.param)


@pytest.fixture
def make_network() -> Callable[[str], Tiny]:
    """Make one network by name."""
    return make


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state, on one thread."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - libraries that use the global state
    torch.manual_seed(SEED)
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _impatient() -> Iterator[None]:
    """Do not wait for a quiet machine: tests keep it busy themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWCOMP_PATIENCE", "0")
        yield


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of kept results."""
    root = tmp_path / "cache"
    monkeypatch.setenv("HWCOMP_CACHE", str(root))
    return root
