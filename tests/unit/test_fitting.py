"""Drafts until one uses its budget: whatever the device makes of what the table says."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from hwcomp.config import Budget
from hwcomp.draft import Drafted
from hwcomp.fitting import DRAFTS, ENOUGH, MARGIN, Fitted, Offer, fitted
from hwcomp.search.joint_projection import Configuration

FASTEST_US, FLOAT_US, BUDGET_US = 170.0, 440.0, 250.0
"""Of ResNet-20, about: the smallest network of its space, the float one, and what is asked for."""


def configuration(us: float) -> Configuration:
    return Configuration(assignment={}, widths={"us": int(1e3 * us)}, predicted_us=us)


def grid(step_us: float) -> Offer:
    """Networks that differ by a step, as with widths in multiples of 16 channels."""

    def within(limit_us: float) -> Configuration | None:
        if limit_us < FASTEST_US:
            return None
        return configuration(FASTEST_US + step_us * int((min(limit_us, FLOAT_US) - FASTEST_US) / step_us))

    return Offer(within=within, fastest=configuration(FASTEST_US))


class Device:
    """What networks take there by what is predicted of them."""

    def __init__(self, measured: Callable[[float], float]) -> None:
        self.measured, self.tried = measured, list[float]()

    def __call__(self, one: Configuration) -> Drafted:
        self.tried.append(one.predicted_us)
        us = self.measured(one.predicted_us)
        return Drafted(latency_us=us, speedup=FLOAT_US / us)


def found(device: Device, offer: Offer, budget_us: float = BUDGET_US, allowed: float = 1.0) -> Fitted | None:
    return fitted(offer, budget_us, device, Budget(kind="latency", value=budget_us), allowed)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.08, 1.3, 1.45])
def test_a_wrong_level_of_the_table_is_repaired(factor: float) -> None:
    device = Device(lambda us: factor * us)
    one = found(device, grid(0.01))
    assert one is not None
    assert MARGIN * ENOUGH * BUDGET_US <= one.drafted.latency_us <= BUDGET_US
    assert len(device.tried) <= 2


@pytest.mark.parametrize("step_us", [0.01, 5.0, 40.0])
@pytest.mark.parametrize("fixed_us", [20.0, 60.0, 79.0])
def test_a_time_that_the_table_does_not_know_is_repaired(fixed_us: float, step_us: float) -> None:
    """Tightening by the ratio alone goes past the fastest network, which is within the budget."""
    device = Device(lambda us: us + fixed_us)
    one = found(device, grid(step_us))
    assert one is not None
    assert one.drafted.latency_us <= BUDGET_US
    best_us = max(us for us in device.tried if us + fixed_us <= BUDGET_US)
    assert one.configuration.predicted_us == best_us
    assert len({*device.tried}) == len(device.tried) <= DRAFTS


def test_between_a_miss_and_a_hit_the_budget_is_used() -> None:
    """A jump: what is wider than 210 us takes half as long again; the first drafts are on both sides of it."""
    device = Device(lambda us: us * (1.5 if us > 210 else 1.0))
    one = found(device, grid(1.0))
    assert one is not None
    assert 195 <= one.drafted.latency_us <= 210
    assert any(a > 210 > b for a, b in pairwise(device.tried))


@pytest.mark.parametrize("above", [1.0, 1.02])
def test_the_fastest_is_the_last_one_that_is_tried(above: float) -> None:
    """Every draft is as slow as the next one, but for the fastest."""
    fastest_us = above * BUDGET_US
    device = Device(lambda us: fastest_us if us == FASTEST_US else 1.03 * BUDGET_US)
    one = found(device, grid(0.01))
    assert device.tried[-1] == FASTEST_US
    assert len(device.tried) == DRAFTS
    if above > 1:
        assert one is None
    else:
        assert one is not None
        assert one.configuration.predicted_us == FASTEST_US


def test_a_source_that_finds_nothing_is_asked_for_its_fastest() -> None:
    device = Device(lambda us: us)
    one = found(device, Offer(within=lambda _: None, fastest=configuration(FASTEST_US)))
    assert one is not None
    assert device.tried == [FASTEST_US]
    refused = Device(lambda us: 2 * us)
    assert found(refused, Offer(within=lambda _: None, fastest=configuration(FASTEST_US))) is None
    assert refused.tried == [FASTEST_US]


def test_drafts_may_be_allowed_less_than_the_budget() -> None:
    one = found(Device(lambda us: us), grid(0.01), allowed=0.9)
    assert one is not None
    assert one.drafted.latency_us == pytest.approx(0.9 * MARGIN * BUDGET_US, rel=1e-3)
