"""Drafts until one uses its budget by measurement: the table tells which network is faster, a device how fast it is."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt

from hwcomp.config import Budget
from hwcomp.draft import Drafted
from hwcomp.search.joint_projection import Configuration

DRAFTS = 8
"""Configurations that are timed to find one that uses the budget."""

MARGIN = 0.98
"""Share of the allowed latency that drafts aim at, so that the final measurement is within it too."""

ENOUGH = 0.97
"""Share of that aim at which a draft is taken at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A source of configurations.

    Attributes:
        within: gives one within a latency in microseconds, by the joint table, or None.
        fastest: the fastest one of the source, by the table.
    """

    within: Callable[[float], Configuration | None]
    fastest: Configuration


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A configuration that was measured within a budget.

    Attributes:
        configuration: widths and precision.
        drafted: what its network takes.
    """

    configuration: Configuration
    drafted: Drafted


def fitted(
    offer: Offer, limit_us: float, draft: Callable[[Configuration], Drafted], budget: Budget, allowed: float = 1.0
) -> Fitted | None:
    r"""Return the most that a source offers within a budget by measurement, or None if not even its fastest is.

    After a draft that takes the share s of what is allowed, the next one aims at

    .. math:: T_{next} = m \, T / s

    by the table, with the margin m; where that is slower than one that missed, or faster than one that is within, at
    the geometric mean of the two, until they are nearly alike; what was tried already is left out on the way. A source
    that is still too slow after all drafts but one is asked for its fastest.

    Args:
        offer: the source.
        limit_us: where to begin, by the table.
        draft: measures a configuration.
        budget: that must be met.
        allowed: share of the budget that a draft may take.
    """
    found, tried = list[Fitted](), list[Configuration]()
    aim_us, missed_us = limit_us, inf
    while len(tried) < DRAFTS:
        is_last = not found and len(tried) == DRAFTS - 1
        configuration = None if is_last or aim_us <= offer.fastest.predicted_us else offer.within(aim_us)
        while found and configuration in tried and aim_us < ENOUGH * missed_us < inf:
            aim_us = sqrt(aim_us * missed_us)
            configuration = offer.within(aim_us)
        if not found and (configuration is None or configuration in tried):
            configuration = offer.fastest
        if configuration is None or configuration in tried:
            break
        tried.append(configuration)
        drafted = draft(configuration)
        share = drafted.share_of(budget) / allowed
        if share <= 1:
            found.append(Fitted(configuration=configuration, drafted=drafted))
        else:
            missed_us = min(missed_us, configuration.predicted_us)
        if MARGIN * ENOUGH <= share <= 1:
            break
        aim_us = MARGIN * configuration.predicted_us / share
        within_us = max((one.configuration.predicted_us for one in found), default=0.0)
        if within_us > ENOUGH * missed_us:
            break
        if found and missed_us < inf and not within_us < aim_us < missed_us:
            aim_us = sqrt(within_us * missed_us)
    return max(found, key=lambda one: one.configuration.predicted_us, default=None)
