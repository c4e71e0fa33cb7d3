"""Bit operations: as published for quantised ResNets, by hand for grouped layers, and expected over draws."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwcomp.bit_operations import Layer, bit_operations, bit_operations_by_layer, layers_of
from hwcomp.errors import InputError
from hwcomp.expected_bit_operations import DrawnBits, expected_bit_operations
from hwcomp.tracing import trace
from hwcomp.workload import load_workload

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10" / "model.py"

PUBLISHED = {
    20: {(8, 8): 3.254, (8, 3): 1.600, (4, 4): 1.100, (3, 3): 0.774, (2, 4): 0.688, (2, 2): 0.487},
    8: {(8, 8): 0.992, (8, 3): 0.498, (4, 4): 0.338, (3, 3): 0.237, (2, 4): 0.209, (2, 2): 0.149},
}
"""Layers -> (weight bits, activation bits) -> 1e9 bit operations of ResNet-20 and of one with a block per stage."""


class Grouped(nn.Module):
    """A first convolution, a grouped, a depthwise and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.grouped = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
        self.depthwise = nn.Conv2d(6, 6, (3, 1), groups=6)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.depthwise(self.grouped(self.stem(x).relu()).relu()).mean((2, 3)))


@pytest.fixture
def grouped() -> tuple[Layer, ...]:
    return layers_of(trace(Grouped(), (torch.zeros(2, 3, 8, 8),)))


@pytest.mark.parametrize("layers", PUBLISHED)
def test_resnets_have_the_published_counts(layers: int) -> None:
    network: Any = type(load_workload(f"{EXAMPLE}:resnet20_scratch").model)
    found = layers_of(trace(network(layers), (torch.zeros(1, 3, 32, 32),)))
    assert [layer.name for layer in found if layer.reads_image] == ["conv"]
    for (weight, activation), published in PUBLISHED[layers].items():
        count = bit_operations(found, weight, activation)
        assert round(count / 1e9, 3) == published, (weight, activation)
        assert sum(bit_operations_by_layer(found, weight, activation).values()) == count


def test_a_filter_counts_what_it_reads_by_the_formula(grouped) -> None:
    bits = {"stem": 4, "grouped": (2, 3, 3, 8, 2, 4), "depthwise": 3}
    read = {"grouped": (2, 4, 8, 3), "depthwise": 5}
    counted = bit_operations_by_layer(grouped, bits, read)

    def of_filter(window: int, weight: int, activations: tuple[int, ...]) -> int:
        largest = window * (2 ** (weight - 1) - 1) * sum(2**a - 1 for a in activations)
        adds = window * len(activations) - 1
        return window * (weight - 1) * sum(activations) + adds * math.ceil(math.log2(largest))

    halves = [((2, 4), (2, 3, 3)), ((8, 3), (8, 2, 4))]
    assert counted == {
        "stem": 2 * 64 * 4 * of_filter(1, 4, (8, 8, 8)),
        "grouped": 2 * 16 * sum(of_filter(9, weight, seen) for seen, weights in halves for weight in weights),
        "depthwise": 2 * 8 * 6 * of_filter(3, 3, (5,)),
    }


def test_linear_layers_count_when_they_are_asked_for() -> None:
    (layer,) = layers_of(trace(Grouped(), (torch.zeros(2, 3, 8, 8),)), ops=("linear",))
    assert layer == Layer(name="fc", inputs=6, outputs=5, window=1, positions=2)


@pytest.mark.parametrize(
    ("weights", "activations", "message"),
    [
        (1, 8, "'stem' have 1 bits; the formula needs 2"),
        (2, 0, "activations of 'grouped' have 0 bits; the formula needs 1"),
        ((2, 2), 8, "weights of 'stem' have 2 bit widths; give one, or 4"),
        ({"stem": 2}, 8, "no bits for the weights of 'grouped'"),
    ],
)
def test_wrong_bits_are_told(grouped, weights: Any, activations: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bit_operations(grouped, weights, activations)


def draws(counts: tuple[int, ...], bits: tuple[int, ...], *, seed: int, dtype=torch.float64) -> list[DrawnBits]:
    generator = torch.Generator().manual_seed(seed)
    return [
        DrawnBits(count=n, bits=bits, probabilities=torch.randn(len(bits), generator=generator, dtype=dtype).softmax(0))
        for n in counts
    ]


def joint(groups: list[DrawnBits]) -> list[tuple[tuple[int, ...], float]]:
    """Every outcome of independent draws: the bits of each filter or channel, and the probability."""
    found = []
    for picks in itertools.product(*(range(len(group.bits)) for group in groups)):
        each = tuple(g.bits[k] for g, k in zip(groups, picks, strict=True) for _ in range(g.count))
        found.append((each, math.prod(float(g.probabilities[k]) for g, k in zip(groups, picks, strict=True))))
    return found


def test_the_expectation_is_the_mean_over_all_draws(grouped) -> None:
    """Draws that straddle the groups of a convolution, and neighbours that share one across depthwise filters."""
    weights = {
        "stem": draws((4,), (2, 4, 8), seed=0),
        "grouped": draws((1, 4, 1), (2, 3, 8), seed=1),
        "depthwise": draws((2, 4), (3, 4), seed=2),
    }
    read = {"grouped": draws((3, 1), (2, 4, 8), seed=3), "depthwise": draws((5, 1), (1, 7), seed=4)}
    mean = 0.0
    for layer in grouped:
        inputs = joint(read[layer.name]) if layer.name in read else [(8, 1.0)]
        for weight_bits, chance in joint(weights[layer.name]):
            for activation_bits, other in inputs:
                count = bit_operations([layer], {layer.name: weight_bits}, {layer.name: activation_bits})
                mean += chance * other * count
    assert float(expected_bit_operations(grouped, weights, read)) == pytest.approx(mean, rel=1e-12)


def test_the_expectation_is_exact_where_sums_are_powers_of_two() -> None:
    """One more in the sum needs one more bit: 4 channels of 1 bit are exactly 2^2."""
    for inputs in (3, 4, 5):
        layer = Layer(name="a", inputs=inputs, outputs=2, window=1, positions=1)
        certain = {"a": [DrawnBits(count=2, bits=(2,), probabilities=torch.ones(1))]}
        read = {"a": [DrawnBits(count=inputs, bits=(1,), probabilities=torch.ones(1))]}
        assert int(expected_bit_operations([layer], certain, read)) == bit_operations([layer], 2, 1)


def test_the_expectation_is_differentiable(grouped) -> None:
    logits = [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(4)]

    def expected(*logits: Tensor) -> Tensor:
        own = [logit.softmax(0) for logit in logits]
        weights = {
            "stem": [DrawnBits(count=4, bits=(2, 4, 8), probabilities=own[0])],
            "grouped": [DrawnBits(count=3, bits=(2, 4, 8), probabilities=p) for p in own[:2]],
            "depthwise": [DrawnBits(count=6, bits=(2, 4, 8), probabilities=own[2])],
        }
        read = {
            "grouped": [DrawnBits(count=2, bits=(2, 4, 8), probabilities=p) for p in own[2:]],
            "depthwise": [DrawnBits(count=6, bits=(2, 4, 8), probabilities=own[3])],
        }
        return expected_bit_operations(grouped, weights, read) / 1e4

    assert torch.autograd.gradcheck(expected, logits)


def test_draws_that_do_not_fit_a_layer_are_told(grouped) -> None:
    with pytest.raises(InputError, match="'stem' are for 3 filters; it has 4"):
        expected_bit_operations(grouped, {"stem": draws((3,), (2,), seed=0)}, {})
    with pytest.raises(InputError, match="no bits for layer 'stem'"):
        expected_bit_operations(grouped, {}, {})
    with pytest.raises(InputError, match="filters of layer 'stem' have 1 bits"):
        expected_bit_operations(grouped, {"stem": draws((4,), (1, 2), seed=0)}, {})
