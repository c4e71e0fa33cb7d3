"""Learning rates over a training, and trainings that end in time."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import hwcomp.train.plan
import hwcomp.train.timetable
from hwcomp.train import Hooks, TrainConfig, TrainData, TrainState, Validation, task_objective, train
from hwcomp.train.plan import Plan
from hwcomp.train.schedule import rate_factor
from hwcomp.workload import top1


class Clock:
    """A clock that goes on only when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(hwcomp.train.timetable, "now", made)
    return made


def factors(points: int = 101, **options: Any) -> list[float]:
    config = TrainConfig(epochs=1, **options)
    return [rate_factor(config, i / (points - 1)) for i in range(points)]


def test_cosine_falls_to_zero_after_its_warmup() -> None:
    plain, warm = factors(), factors(warmup=0.2)
    assert plain[0] == 1
    assert plain[50] == pytest.approx(0.5)
    assert plain[100] == pytest.approx(0, abs=1e-12)
    assert warm[:21] == pytest.approx([i / 20 for i in range(21)])
    assert warm[60] == pytest.approx(0.5)
    assert warm[100] == pytest.approx(0, abs=1e-12)


def test_one_cycle_rises_and_falls() -> None:
    rates = factors(schedule="one_cycle")
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == rates[30] == 1
    assert all(a < b for a, b in pairwise(rates[:31]))
    assert all(a > b for a, b in pairwise(rates[30:]))
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert max(range(101), key=factors(schedule="one_cycle", warmup=0.5).__getitem__) == 50


def test_constant_stays() -> None:
    assert set(factors(schedule="constant")) == {1.0}


def test_a_plan_that_is_changed_goes_on_without_a_jump_and_reaches_the_end() -> None:
    plan = Plan().ending(0, 100)
    later = plan.ending(40, 60)
    assert later.at(40) == pytest.approx(plan.at(40))
    assert later.at(50) == pytest.approx(0.7)
    assert later.at(60) == 1
    assert later.at(70) == 1
    assert Plan().at(5) == 0


def timed(clock: Clock, step_s: Any, *, validation_s: float = 0, batches: int = 40, **options: Any) -> Any:
    """Train while each step takes ``step_s(step)`` seconds, and each validation some more."""
    x, y = torch.randn(8, 3), torch.tensor([0, 1] * 4)
    rates: list[float] = []
    config = TrainConfig(**options)

    def data() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(batches):
            yield x, y

    def after_step(state: TrainState) -> None:
        clock.seconds += step_s(state.step)
        rates.append(state.rate)

    def metric(outputs: Tensor, targets: Tensor) -> float:
        clock.seconds += validation_s
        return top1(outputs, targets)

    trained = train(
        nn.Linear(3, 2),
        TrainData(batches=data, example_inputs=(x,)),
        config,
        objective=task_objective(F.cross_entropy, None, config),
        hooks=Hooks(after_step=after_step),
        validation=Validation(batches=[((x,), y)], metric=metric),
    )
    return trained, rates


SPEEDS = {
    "steady": (lambda _: 0.5, 0, 120),
    "a slow first step": (lambda step: 10.0 if step == 1 else 0.5, 0, 100),
    "slower later": (lambda step: 0.25 if step < 100 else 0.5, 0, 150),
    "faster later": (lambda step: 1.0 if step < 30 else 0.5, 0, 90),
    "with validation": (lambda _: 0.5, 5, 96),
    "slow steps": (lambda _: 6.0, 0, 10),
}


@pytest.mark.parametrize("speed", SPEEDS)
def test_training_ends_in_time_and_its_schedule_is_complete(clock: Clock, speed: str) -> None:
    step_s, validation_s, expected = SPEEDS[speed]
    begin = clock.seconds
    trained, rates = timed(clock, step_s, validation_s=validation_s, minutes=1)
    assert trained.steps == pytest.approx(expected, rel=0.15)
    assert 50 <= clock.seconds - begin - validation_s <= 60 + step_s(1000)
    assert rates[0] > 0.045
    assert rates[-1] < 0.05 * (0.05 if expected > 20 else 0.5)
    assert all(a > b - 1e-9 for a, b in pairwise(rates))
    assert trained.epochs == len(trained.history) == -(-trained.steps // 40)


def test_epochs_are_the_most_that_minutes_allow(clock: Clock) -> None:
    trained, rates = timed(clock, lambda _: 0.01, minutes=1, epochs=2)
    assert (trained.epochs, trained.steps) == (2, 80)
    assert rates[-1] < 1e-4
    trained, rates = timed(clock, lambda _: 1.0, minutes=1, epochs=2)
    assert trained.steps == pytest.approx(60, abs=2)
    assert rates[-1] < 1e-3


def test_epochs_that_are_never_reached_do_not_matter(clock: Clock) -> None:
    alone = timed(clock, lambda _: 0.5, minutes=1)[1]
    both = timed(clock, lambda _: 0.5, minutes=1, epochs=1000)[1]
    assert both == pytest.approx(alone, abs=0.004)


def test_data_without_a_length_is_counted_once() -> None:
    reads: list[int] = []

    def data() -> Iterator[tuple[Tensor, Tensor]]:
        reads.append(1)
        for _ in range(7):
            yield torch.randn(4, 3), torch.tensor([0, 1, 0, 1])

    rates: list[float] = []
    config = TrainConfig(epochs=3)
    train(
        nn.Linear(3, 2),
        TrainData(batches=data, example_inputs=(torch.zeros(1, 3),)),
        config,
        objective=task_objective(F.cross_entropy, None, config),
        hooks=Hooks(after_step=lambda state: rates.append(state.rate)),
    )
    assert len(reads) == 4
    assert rates == pytest.approx([0.05 * rate_factor(config, (i + 0.5) / 21) for i in range(21)])
