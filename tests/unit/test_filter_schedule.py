"""How many filters are zero after each epoch: the published curve, its end points, and what is refused."""

from math import exp

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hwcomp.errors import InputError
from hwcomp.search.filter_schedule import KNEE, asymptotic_rate, constant_rate, pruned_count, total_decay

GOALS = st.floats(0.01, 0.99)


def test_soft_filter_pruning_starts_at_its_goal() -> None:
    assert [constant_rate(epoch, 10, 0.3) for epoch in (0, 1, 10)] == [0.3, 0.3, 0.3]


def test_the_published_curve() -> None:
    total = total_decay(0.3)
    assert total == pytest.approx(11.0900, abs=5e-5)
    assert exp(-total * KNEE) == pytest.approx(0.2500114, abs=5e-8)
    limit = 0.3 / (1 - exp(-total))
    assert limit / 0.3 == pytest.approx(1.0000153, abs=5e-8)
    percent = [round(100 * asymptotic_rate(t, 200, 0.3), 1) for t in (1, 5, 10, 25, 50, 100)]
    assert percent == [1.6, 7.3, 12.8, 22.5, 28.1, 29.9]


@pytest.mark.parametrize(("knee", "total"), [(1 / 4, 5.496), (1 / 6, 8.313), (1 / 10, 13.863), (1 / 16, 22.181)])
def test_other_knees(knee: float, total: float) -> None:
    assert total_decay(0.5, knee=knee) == pytest.approx(total, abs=5e-4)


@example(goal=0.8698452342253911, part=0.0, knee=0.0001, epochs=1)  # so steep that its end is flat
@given(goal=GOALS, part=st.floats(0, 0.7), knee=st.floats(1e-4, 0.999), epochs=st.integers(1, 500))
def test_the_curve_goes_through_its_three_points_and_never_falls(goal, part, knee, epochs) -> None:
    start = part * goal
    bend = (0.75 * goal - start) / (goal - start)
    knee *= bend - 1e-3
    assert asymptotic_rate(0, epochs, goal, start, knee) == pytest.approx(start, abs=1e-12)
    assert asymptotic_rate(knee * epochs, epochs, goal, start, knee) == pytest.approx(0.75 * goal, rel=1e-6)
    assert asymptotic_rate(epochs, epochs, goal, start, knee) == pytest.approx(goal, rel=1e-12)
    rates = [asymptotic_rate(epochs * step / 40, epochs, goal, start, knee) for step in range(41)]
    assert rates == sorted(rates)


def test_no_goal_is_no_pruning() -> None:
    assert asymptotic_rate(3, 5, 0.0) == 0.0


@pytest.mark.parametrize("schedule", [constant_rate, asymptotic_rate], ids=["constant", "asymptotic"])
@pytest.mark.parametrize(
    ("epoch", "epochs", "goal", "said"),
    [(0, 10, 1.0, "below 1"), (0, 10, -0.1, "at least 0"), (0, 10, float("nan"), "found nan"), (0, 0, 0.3, "one epoch"),
     (11, 10, 0.3, "found 11 of 10"), (-1, 10, 0.3, "from 0")],
)  # fmt: skip
def test_rates_and_epochs_out_of_range_are_refused(schedule, epoch, epochs, goal, said) -> None:
    with pytest.raises(InputError, match=said):
        schedule(epoch, epochs, goal)


@pytest.mark.parametrize(
    ("start", "knee", "said"),
    [(0.0, 0.75, "too late"), (0.0, 0.9, "too late"), (0.2, 0.5, "too late"), (0.0, 0.0, "between 0 and 1"),
     (0.0, 1.5, "between 0 and 1"), (0.0, float("nan"), "between 0 and 1"), (0.225, 1 / 8, "start lower"),
     (0.5, 1 / 8, "start lower"), (-0.1, 1 / 8, "at least 0")],
)  # fmt: skip
def test_curves_that_do_not_exist_are_refused(start: float, knee: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        asymptotic_rate(1, 10, 0.3, start, knee)


@pytest.mark.parametrize(
    ("filters", "rate", "count"),
    [
        (16, 0.0, 0),
        (16, 0.0624, 0),
        (16, 0.0625, 1),
        (10, 1 - 0.9, 1),
        (64, 0.3, 19),
        (16, 0.999, 15),
        (1, 0.99, 0),
        (16, 1 - 1e-9, 15),
    ],
)
def test_pruned_filters_are_whole(filters: int, rate: float, count: int) -> None:
    assert pruned_count(filters, rate) == count


def test_a_rate_of_everything_is_refused() -> None:
    with pytest.raises(InputError, match="below 1"):
        pruned_count(16, 1.0)
