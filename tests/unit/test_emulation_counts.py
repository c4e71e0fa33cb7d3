"""Instruction counts: what is believed of the guest's answers, and how kernels are told apart."""

import random

import pytest

from hwcomp.emulation.counts import CLASSES, Counts, Pace, parse_counts
from hwcomp.emulation.kernels import Readings, kernel_counts, locate


def counts(**by_name: int) -> Counts:
    places = {"fma": 0, "dot": 1, "mac": 2, "scalar": 4, "load": 5, "other": 8}
    values = [0] * len(CLASSES)
    for name, value in by_name.items():
        values[places[name]] = value
    return Counts(tuple(values))


def clock(*steps: Counts) -> list[Counts]:
    """Return the counters at readings of the clock, from what is executed between them."""
    readings = [counts(other=1000)]
    for step in steps:
        readings.append(Counts(tuple(a + b for a, b in zip(readings[-1].by_class, step.by_class, strict=True))))
    return readings


def test_counts_of_the_guest_are_checked() -> None:
    good = list(range(9))
    assert parse_counts(good).total == sum(good)
    for bad in (None, {}, good[:-1], [*good, 1], [*good[:-1], -1], [*good[:-1], 1.5], [*good[:-1], True], ["1"] * 9):
        with pytest.raises(ValueError, match="counts that are no"):
            parse_counts(bad)


def test_the_mix_tells_scalar_and_integer_code() -> None:
    assert counts(fma=90, scalar=10, load=500).scalar_share == pytest.approx(0.1)
    assert counts(mac=5, dot=5, scalar=30).scalar_share == pytest.approx(0.75)
    assert counts(load=5).scalar_share == 0.0
    assert counts(mac=3, dot=3, fma=5).is_integer
    assert not counts(mac=3, fma=3).is_integer
    assert sum(counts(fma=1, load=3).shares().values()) == pytest.approx(1.0)
    assert counts(fma=1, load=3).shares()["load"] == 0.75


def test_instructions_become_microseconds() -> None:
    pace = Pace(float_cycles=1.5, integer_cycles=1.2, clock_ghz=2.0)
    assert pace.us(2_000_000) == pytest.approx(1500.0)
    assert pace.us(2_000_000, counts(fma=10)) == pytest.approx(1500.0)
    assert pace.us(2_000_000, counts(dot=10)) == pytest.approx(1200.0)


def test_the_probe_shows_where_kernels_begin() -> None:
    around = [counts(other=10)] * 3
    readings = locate(clock(*around, counts(fma=4096, load=999), *around[:2]), 4096)
    assert readings == Readings(before=3, after=2)


@pytest.mark.parametrize(
    "steps",
    [
        [counts(fma=4000), counts(fma=96)],  # the product is split by a reading of the clock
        [counts(other=1), counts(fma=4095)],  # something was not counted
        [counts(fma=4096), counts(fma=1)],  # something else multiplies
        [],
    ],
)
def test_a_probe_that_does_not_fit_is_refused(steps: list[Counts]) -> None:
    with pytest.raises(ValueError, match="product of 4096"):
        locate(clock(*steps), 4096)


def test_kernels_sum_to_the_run_without_the_profilers_share() -> None:
    generator = random.Random(0)
    readings, profiler = Readings(before=2, after=3), 25_000
    work = [generator.randint(1_000, 500_000) for _ in range(40)]
    steps = [counts(other=9_000)] * readings.before
    for instructions in work:
        steps += [
            counts(fma=instructions // 2, load=instructions - instructions // 2, other=profiler),
            counts(other=9_000),
        ]
    steps += [counts(other=50)] * (readings.after - 1)
    names = [f"n{index}" for index in range(len(work))]
    kernels = kernel_counts(clock(*steps), names, readings, sum(work))
    assert [kernel.name for kernel in kernels] == names
    assert [kernel.instructions for kernel in kernels] == pytest.approx(work)
    assert sum(kernel.instructions for kernel in kernels) == pytest.approx(sum(work))


def test_no_kernel_executes_less_than_nothing() -> None:
    steps = [counts(other=30_000), counts(other=9), counts(other=20_000)]
    kernels = kernel_counts(clock(*steps), ["a", "b"], Readings(before=0, after=0), 1_000)
    assert [kernel.instructions for kernel in kernels] == [5_500.0, 0.0]


def test_kernels_that_are_taken_for_what_is_between_them_are_refused() -> None:
    """Were the readings shifted by one, every kernel would lie in a gap."""
    steps = [counts(other=9), counts(fma=100, other=27), counts(other=9), counts(fma=200, other=27), counts(other=9)]
    assert len(kernel_counts(clock(*steps), ["a", "b"], Readings(before=1, after=1), 300)) == 2
    with pytest.raises(ValueError, match="300 vectors are multiplied between the kernels"):
        kernel_counts(clock(*steps), ["a", "b"], Readings(before=0, after=2), 300)


def test_what_the_profiler_does_now_and_then_is_no_kernel() -> None:
    """Its list of events is moved to a larger place between two kernels."""
    steps = [counts(fma=100), counts(other=9), counts(fma=200), counts(other=1_000_000), counts(fma=50)]
    assert len(kernel_counts(clock(*steps), ["a", "b", "c"], Readings(before=0, after=0), 350)) == 3


@pytest.mark.parametrize("readings", [1, 4, 5])
def test_readings_that_do_not_match_the_kernels_are_refused(readings: int) -> None:
    clocks = clock(*[counts(other=5)] * (readings - 1))
    with pytest.raises(ValueError, match=f"read {readings} times for 2 kernels, not 6 times"):
        kernel_counts(clocks, ["a", "b"], Readings(before=1, after=1), 10)


def test_a_network_without_kernels_counts_none() -> None:
    assert kernel_counts(clock(counts(other=5)), [], Readings(before=1, after=1), 10) == []
