"""Random networks for a general table: all can be used, none is too much work, and together they show every kind."""

import math
import random
from collections import Counter
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import nn

from hwcomp.default_passes import default_passes
from hwcomp.kernels import kernels_of
from hwcomp.program import run_passes
from hwcomp.sampling import KINDS, MAX_ELEMENTS, MAX_MACS, VECTOR, Sample, draw_sample
from hwcomp.target import load
from hwcomp.tracing import trace

SEEDS = 200
SLACK = 2.0
"""Eight channels are drawn at least, and two branches may lie side by side."""


def drawn(seed: int, weights: dict[str, float] | None = None) -> Sample:
    return draw_sample(random.Random(seed), weights)


def outlined(seed: int, weights: dict[str, float] | None = None) -> Sample:
    """Return a random network without its numbers, which is made in no time."""
    with torch.device("meta"):
        return drawn(seed, weights)


@dataclass(frozen=True)
class Layer:
    """A layer as it is used in a network, with the shapes of its input and output."""

    module: nn.Module
    inputs: tuple[int, ...]
    output: tuple[int, ...]

    @property
    def macs(self) -> int:
        weight = getattr(self.module, "weight", None)
        if isinstance(self.module, nn.Conv2d):
            return math.prod(self.output) * weight[0].numel()
        return math.prod(self.output) * self.inputs[-1] if isinstance(self.module, nn.Linear) else 0


@cache
def layers() -> list[Layer]:
    """Return the layers of all networks; nothing is computed but shapes."""
    found: list[Layer] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        found.append(Layer(module, tuple(inputs[0].shape), tuple(output.shape)))

    for seed in range(SEEDS):
        sample = outlined(seed)
        for module in sample.model.modules():
            module.register_forward_hook(note)
        sample.model(*sample.inputs)
    return found


@cache
def convolutions() -> list[Layer]:
    return [layer for layer in layers() if isinstance(layer.module, nn.Conv2d)]


def ops_of(seed: int) -> tuple[list[str], list[str]]:
    """Return the operators of a random network and the activations that are fused into them, after tracing it whole."""
    sample, target = drawn(seed), load("x86_64")
    program = run_passes(trace(sample.model, sample.inputs), default_passes(target))
    assert not [note for note in program.notes if "opaque" in note.reason], (seed, program.notes)
    kernels = [candidates["float"] for candidates in kernels_of(program, target.activation).sites.values()]
    assert len(kernels) > 3
    return [kernel.op for kernel in kernels], [kernel.tail for kernel in kernels]


@pytest.mark.slow
def test_every_network_can_be_traced_whole() -> None:
    for seed in range(SEEDS):
        ops_of(seed)


def test_every_operator_of_the_targets_occurs() -> None:
    """In networks that can be traced whole, whatever is in them."""
    found = [ops_of(seed) for seed in range(16)]
    ops = Counter(op for names, _ in found for op in names)
    wanted = {"conv2d", "linear", "attention", "add", "mul", "cat", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d",
              "layer_norm", "hardswish", "silu", "sigmoid"}  # fmt: skip
    assert wanted - ops.keys() == set()
    assert {"relu", "relu6"} - {tail for _, tails in found for tail in tails} == set()


def test_networks_run() -> None:
    for seed in range(10):
        sample = drawn(seed)
        with torch.no_grad():
            assert torch.isfinite(sample.model(*sample.inputs)).all()


def test_no_layer_is_too_much_work() -> None:
    """A sample is measured in seconds, not minutes."""
    for layer in layers():
        assert layer.macs <= SLACK * MAX_MACS, layer
        assert math.prod(layer.output) <= SLACK * MAX_ELEMENTS, layer


def test_work_spans_orders_of_magnitude() -> None:
    macs = [layer.macs for layer in convolutions()]
    assert sum(count < 1e5 for count in macs) > 20
    assert sum(count > 5e7 for count in macs) > 20


def test_every_kind_of_convolution_occurs() -> None:
    """Windows, strides, depthwise and grouped ones, each many times."""
    found = [layer.module for layer in convolutions()]
    depthwise = [1 < module.groups == module.in_channels for module in found]
    sizes = Counter((module.kernel_size[0], alone) for module, alone in zip(found, depthwise, strict=True))
    for size in (1, 3, 5, 7):
        assert sizes[size, False] >= 10
    for size in (3, 5, 7):
        assert sizes[size, True] >= 10
    assert sum(m.groups > 1 and not alone for m, alone in zip(found, depthwise, strict=True)) >= 20
    assert sum(module.stride[0] == 2 for module in found) >= 50


def test_channels_lie_on_and_off_the_vector_width() -> None:
    outputs = [layer.output[1] for layer in convolutions()]
    off = sum(channels % VECTOR != 0 for channels in outputs) / len(outputs)
    assert 0.05 < off < 0.4
    assert len({channels % VECTOR for channels in outputs}) == VECTOR


def test_channels_reach_from_few_to_many() -> None:
    outputs = [math.log2(layer.output[1]) for layer in convolutions()]
    assert min(outputs) <= 3
    assert max(outputs) >= 9
    assert sum(value > 6 for value in outputs) > 0.25 * len(outputs)


def test_the_seed_decides_the_network() -> None:
    for seed in range(5):
        one, again, other = (str(drawn(s).model) for s in (seed, seed, seed + 1000))
        assert one == again
        assert one != other
        assert drawn(seed).inputs[0].shape == drawn(seed).inputs[0].shape


def test_kinds_are_drawn_about_equally_often() -> None:
    first = Counter(outlined(seed).kinds[0] for seed in range(SEEDS))
    assert set(first) == set(KINDS)
    assert min(first.values()) > 0.3 * SEEDS / len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_shift_the_draw(kind: str) -> None:
    """A kind that the model predicts badly comes more often."""

    def share(weights: dict[str, float] | None) -> float:
        kinds = [one for seed in range(60) for one in outlined(seed, weights).kinds]
        return kinds.count(kind) / len(kinds)

    assert share({kind: 10.0}) > 1.5 * share(None)


def test_a_kind_of_no_weight_is_not_drawn() -> None:
    kinds = {kind for seed in range(60) for kind in outlined(seed, {"tokens": 0.0, "grouped": 0.0}).kinds}
    assert kinds == set(KINDS) - {"tokens", "grouped"}
