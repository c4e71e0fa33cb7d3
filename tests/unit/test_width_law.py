"""The latency of a network as a function of its widths."""

import random
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hwcomp.compaction import compact
from hwcomp.entries import Profile
from hwcomp.groups import Groups, width_groups
from hwcomp.ops import shape_of
from hwcomp.program import Program
from hwcomp.tracing import trace
from hwcomp.width_designs import candidates, designed_widths, fast_multiple, rounded, trial_widths
from hwcomp.width_fit import Counts, Timed, width_law
from hwcomp.width_law import Polynomial

NAMES = ("a", "b", "c")
NUMBERS = st.floats(-5, 5)
FIRST_DEGREE = st.builds(
    lambda constant, linear: Polynomial(constant=constant, linear=linear),
    NUMBERS,
    st.dictionaries(st.sampled_from(NAMES), NUMBERS),
)
WIDTHS = st.fixed_dictionaries({name: st.integers(1, 64) for name in NAMES})


class Block(nn.Module):
    """A depthwise separable residual block between convolutions, with a linear layer behind a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.up, self.depth, self.down = (
            nn.Conv2d(32, 48, 1), nn.Conv2d(48, 48, 3, padding=1, groups=48), nn.Conv2d(48, 32, 1)
        )  # fmt: skip
        self.last, self.fc = nn.Conv2d(32, 16, 3), nn.Linear(16 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.down(torch.relu(self.depth(self.up(x))))
        return self.fc(torch.flatten(torch.relu(self.last(x)), 1))


@pytest.fixture(scope="module")
def traced() -> tuple[Program, Groups]:
    program = trace(Block(), (torch.zeros(1, 3, 6, 6),))
    return program, width_groups(program)


def smaller(traced: tuple[Program, Groups], widths: Mapping[str, int]) -> Program:
    return compact(*traced, {name: range(width) for name, width in widths.items()})


@given(FIRST_DEGREE, FIRST_DEGREE, WIDTHS, NUMBERS)
def test_sums_and_products_are_those_of_the_values(
    one: Polynomial, other: Polynomial, widths: dict[str, int], factor: float
) -> None:
    assert (one + other)(widths) == pytest.approx(one(widths) + other(widths), abs=1e-6)
    assert one.scaled(factor)(widths) == pytest.approx(factor * one(widths), abs=1e-6)
    assert one.times(other)(widths) == pytest.approx(one(widths) * other(widths), abs=1e-4)


def test_counts_are_those_of_smaller_networks(traced: tuple[Program, Groups]) -> None:
    program, groups = traced
    counts, generator = Counts(program, groups), random.Random(0)
    for _ in range(5):
        widths = {group.name: generator.randint(1, group.channels) for group in groups.groups}
        network = smaller(traced, widths)
        for node in network.nodes:
            shape = shape_of(node)
            if node.op in ("call_module", "call_function") and shape is not None:
                assert counts.of_tensor(node.name)(widths) == pytest.approx(np.prod(shape))
        for name in ("up", "down", "last", "fc"):
            weight = network.module.get_submodule(name).weight
            kernel = weight[0, 0].numel()
            assert counts.features(name)[-1](widths) * kernel == pytest.approx(weight.numel())


def device_us(network: Program) -> dict[str, float]:
    """What a device would take that is fond of no width: a start, memory, and products."""
    times = {}
    for node in network.nodes:
        shape = shape_of(node)
        if node.op.startswith("call_") and shape is not None:
            module = network.module.get_submodule(str(node.target)) if node.op == "call_module" else None
            macs = getattr(module, "weight", torch.zeros(1)).numel()
            times[node.name] = 2.0 + 0.01 * float(np.prod(shape)) + 0.02 * macs
    return times


def timed(network: Program, widths: Mapping[str, int]) -> Timed:
    times = device_us(network)
    profile = Profile(name="", assignment={}, site_us=times, tensor_us={"stem": 0.03 * widths["stem"]})
    return Timed(widths=widths, profile=profile, latency_us=1.1 * profile.total_us)


def test_the_law_predicts_widths_that_it_has_not_seen(traced: tuple[Program, Groups]) -> None:
    program, groups = traced
    points = [timed(smaller(traced, widths), widths) for widths in designed_widths(groups, 0)]
    law = width_law(Counts(program, groups), points)
    generator = random.Random(1)
    for _ in range(10):
        widths = {group.name: generator.randint(4, group.channels) for group in groups.groups}
        assert law(widths) == pytest.approx(timed(smaller(traced, widths), widths).latency_us, rel=0.03)


def test_fast_widths_are_found(traced: tuple[Program, Groups]) -> None:
    _, groups = traced
    law = Polynomial(linear={group.name: 1.0 for group in groups.groups})

    def trial(multiple: int, fond_of: int) -> Timed:
        widths = trial_widths(groups, multiple)
        slow = 1.0 + 0.5 * np.mean([width % fond_of != 0 for width in widths.values()])
        profile = Profile(name="", assignment={}, site_us={}, tensor_us={})
        return Timed(widths=widths, profile=profile, latency_us=slow * law(widths))

    for fond_of in (1, 4, 8, 16):
        assert fast_multiple(law, [(m, trial(m, fond_of)) for m in (1, 4, 8, 16)]) == fond_of


def test_trials_are_odd_multiples(traced: tuple[Program, Groups]) -> None:
    for multiple in (4, 8):
        for width in trial_widths(traced[1], multiple).values():
            assert width % multiple == 0
            assert width % (2 * multiple) != 0


@given(st.integers(1, 512), st.floats(0, 1), st.sampled_from([1, 4, 8, 16]))
def test_rounded_widths_are_blocks(channels: int, share: float, multiple: int) -> None:
    width = rounded(channels, share, multiple)
    assert 1 <= width <= channels
    assert width % multiple == 0 or width == channels
    assert width == channels if channels <= multiple else width >= multiple
    if multiple <= width < channels - multiple:
        assert abs(width - share * channels) <= max(multiple / 2, multiple - share * channels) + 1e-9


def test_candidates_end_with_the_present_width(traced: tuple[Program, Groups]) -> None:
    found = candidates(traced[1], 16, {"up": 40})
    assert found["up"] == [16, 32, 40]
    assert found["stem"] == [16, 32]
    assert found["last"] == [16]
    assert candidates(traced[1], 1, {"up": 48})["up"] == [*range(3, 48, 3), 48]
