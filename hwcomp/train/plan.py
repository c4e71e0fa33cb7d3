"""How far a training is, in steps; and where it must end to be done in time."""

import time
from dataclasses import dataclass

FIRST_STEPS = 20
"""The speed of so many steps decides the first plan; of fewer, if they take a twentieth of the time."""

EVERY_STEPS = 50
TOLERANCE = 0.03
"""A plan is changed when the steps that are left are off by more than this share."""


def now() -> float:
    """Return the seconds of a clock that never goes back."""
    return time.monotonic()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The share of the training that is done after each step: a line from a known point to 1 at the end.

    Attributes:
        step: where the line begins.
        share: the share there.
        end: the step at which it reaches 1; None while that is not known, then the share stays.
    """

    step: int = 0
    share: float = 0.0
    end: int | None = None

    def at(self, step: float) -> float:
        """Return the share of the training that is done at a step."""
        if self.end is None or self.end <= self.step:
            return self.share if self.end is None else 1.0
        return min(1.0, self.share + (1 - self.share) * (step - self.step) / (self.end - self.step))

    def ending(self, step: int, end: int) -> "Plan":
        """Return the plan that leaves this one at a step and ends elsewhere; the share goes on without a jump."""
        return self if end == self.end else Plan(step=step, share=self.at(step), end=end)


class Pace:
    """Measures the speed of a training and says at which step it must end."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._start: tuple[int, float] | None = None
        self._asked: tuple[int, float] | None = None

    def end(self, step: int, elapsed_s: float) -> int | None:
        """Return the step at which the time will be over, or None where there is nothing new to say.

        Args:
            step: steps that are done.
            elapsed_s: time that is gone, validation and all.
        """
        if elapsed_s >= self.limit_s:
            return step
        if self._start is None:  # the first step also warms everything up
            self._start = self._asked = (step, elapsed_s)
            return None
        assert self._asked is not None
        wait = FIRST_STEPS if self._asked is self._start else EVERY_STEPS
        if step - self._asked[0] < wait and elapsed_s - self._asked[1] < 0.05 * self.limit_s:
            return None
        self._asked = (step, elapsed_s)
        step_s = (elapsed_s - self._start[1]) / max(1, step - self._start[0])
        return step + max(1, int((self.limit_s - elapsed_s) / max(step_s, 1e-9)))


def differs(plan: Plan, end: int, step: int) -> bool:
    """Return whether a plan has to be changed to end at another step."""
    return plan.end is None or end <= step or abs(end - plan.end) > TOLERANCE * max(1, plan.end - step)
