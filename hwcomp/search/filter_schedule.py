"""How many filters are zero after each epoch of soft filter pruning."""

from math import expm1, floor, log1p
from typing import Any, Protocol

from scipy.optimize import brentq

from hwcomp.errors import InputError

KNEE = 1 / 8
"""Share of the epochs after which the asymptotic rate has reached `KNEE_RATE` of its goal."""

KNEE_RATE = 3 / 4

FLATTEST = 1e-9
"""Decay over the whole training from which on a schedule counts as bent and not as a straight line."""

ROUNDING = 1e-6
"""What a rate may lack to a whole filter: 1 - 0.9 is 0.0999..., and ten filters times that is still one."""


class Schedule(Protocol):
    """Gives the share of filters that are zero once ``epoch`` of ``epochs`` epochs are done, towards ``goal``."""

    def __call__(self, epoch: float, epochs: int, goal: float) -> float:
        """Return the rate, in [0, 1)."""
        ...


def constant_rate(epoch: float, epochs: int, goal: float) -> float:
    """Return the rate of soft filter pruning: the goal from the start, also before the first epoch.

    Source: [He2018]_, Soft filter pruning for accelerating deep convolutional neural networks.

    Raises:
        InputError: the goal or the epoch is out of range.
    """
    _check(epoch, epochs, goal)
    return goal


def asymptotic_rate(epoch: float, epochs: int, goal: float, start: float = 0.0, knee: float = KNEE) -> float:
    r"""Return the rate of asymptotic soft filter pruning, which rises fast at first and ever more slowly.

    .. math:: P(t) = a e^{-k t} + b, \quad P(0) = P_0, \quad P(D N) = \tfrac{3}{4} P_N, \quad P(N) = P_N

    Source: [He2020]_, Asymptotic soft filter pruning for deep convolutional neural networks.

    Args:
        epoch: t, epochs done so far; it may be a fraction.
        epochs: N, of the whole training.
        goal: P_N, share of filters that are zero in the end, in [0, 1).
        start: P_0, share of filters that are zero before the first epoch.
        knee: D, share of the epochs in which three quarters of the goal are reached.

    Raises:
        InputError: a rate, the knee or the epoch is out of range, or no such curve goes through the three points.
    """
    _check(epoch, epochs, goal)
    if goal == start == 0.0:
        return 0.0
    total = total_decay(goal, start, knee)
    return start + (goal - start) * expm1(-total * epoch / epochs) / expm1(-total)


def total_decay(goal: float, start: float = 0.0, knee: float = KNEE) -> float:
    r"""Return :math:`k N`, the decay of `asymptotic_rate` over the whole training.

    It is the root of

    .. math:: \frac{1 - e^{-k N D}}{1 - e^{-k N}} = \frac{\tfrac{3}{4} P_N - P_0}{P_N - P_0},

    whose left side grows from D to 1.

    Raises:
        InputError: a rate or the knee is out of range, or no such curve goes through the three points.
    """
    _check_rate("goal", goal)
    _check_rate("start", start)
    if start >= KNEE_RATE * goal:
        raise InputError(
            f"The pruning rate cannot start at {start:g}: it passes {KNEE_RATE * goal:g}, three quarters of the goal "
            f"{goal:g}, on its way; start lower."
        )
    if not 0 < knee < 1:
        raise InputError(f"The knee of the pruning schedule is a share of the epochs between 0 and 1; found {knee:g}.")
    share = (KNEE_RATE * goal - start) / (goal - start)

    def excess(total: float) -> float:
        return expm1(-total * knee) / expm1(-total) - share

    if excess(FLATTEST) >= 0:
        raise InputError(
            f"The knee {knee:g} of the pruning schedule is too late: from {start:g} to {goal:g} it must lie before "
            f"{share:.3g} of the epochs, where a straight line passes three quarters of the goal."
        )
    steepest = -2 * log1p(-share) / knee  # twice what is needed where the rest of the curve is flat: rounding
    root: Any = brentq(excess, FLATTEST, steepest, xtol=1e-12)
    return float(root)


def pruned_count(filters: int, rate: float) -> int:
    """Return how many of a layer's filters are zero at a rate; at least one always stays."""
    _check_rate("rate", rate)
    return min(floor(filters * rate + ROUNDING), filters - 1)


def _check(epoch: float, epochs: int, goal: float) -> None:
    _check_rate("goal", goal)
    if epochs < 1 or not 0 <= epoch <= epochs:
        raise InputError(
            f"A pruning schedule has at least one epoch and goes from 0 to its end; found {epoch} of {epochs}."
        )


def _check_rate(name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise InputError(
            f"The {name} of filter pruning is a share of the filters, at least 0 and below 1; found {rate:g}."
        )
