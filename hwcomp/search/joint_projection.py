r"""From probabilities to one assignment within a latency, by exact choices of precision and widths in turn.

.. math:: \max_{a, n} \sum_s \log p_s(a_s) + \sum_g \log p_g(n_g) \quad \text{such that} \quad T(a, n) \le T_{max}

For given widths the precision is an exact choice, and for a given precision so are the widths (two mixed-integer
programmes); each is solved in turn until nothing changes, from several starts. The best point that was met is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
from numpy.typing import NDArray

from hwcomp.joint_cost import JointTable
from hwcomp.scheme import FLOAT, split_of
from hwcomp.search.knapsack import Sensitivity, solve
from hwcomp.search.width_knapsack import solve_widths
from hwcomp.space import Assignment
from hwcomp.width_law import Widths

MOST_ROUNDS = 6
LEAST = 1e-6
"""Probability below which candidates are told apart no more."""

Weights = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """A precision for every site and a width for every group.

    Attributes:
        assignment: site -> scheme, complete.
        widths: group -> channels, complete.
        predicted_us: latency by the table.
    """

    assignment: Assignment
    widths: Widths
    predicted_us: float


@dataclass(frozen=True, kw_only=True)
class Preference:
    """How likely each candidate is.

    Attributes:
        schemes: site -> candidate -> probability.
        widths: group -> width -> probability; ascending.
    """

    schemes: Mapping[str, Weights]
    widths: Mapping[str, Mapping[int, float]]

    def value(self, configuration: Configuration) -> float:
        """Return the logarithm of a configuration's probability."""
        schemes = [p[configuration.assignment[site]] for site, p in self.schemes.items()]
        widths = [p[configuration.widths[group]] for group, p in self.widths.items()]
        return sum(log(max(LEAST, p)) for p in (*schemes, *widths))

    @property
    def has_splits(self) -> bool:
        """Whether a layer may compute in two schemes."""
        return any(split_of(choice) is not None for found in self.schemes.values() for choice in found)

    def without_splits(self) -> "Preference":
        """Return how likely candidates are if no layer computes in two schemes; those that do stay, at zero."""
        schemes: dict[str, Weights] = {}
        for site, found in self.schemes.items():
            whole = {choice: p if split_of(choice) is None else 0.0 for choice, p in found.items()}
            schemes[site] = {choice: p / sum(whole.values()) for choice, p in whole.items()}
        return Preference(schemes=schemes, widths=self.widths)


def project(joint: JointTable, preference: Preference, limit_us: float) -> Configuration | None:
    """Return the most likely configuration within a latency, or None if none is found.

    Args:
        joint: latencies.
        preference: probabilities; sites and groups that it does not name stay float and whole.
        limit_us: latency by the table.
    """
    joint = _restricted(joint, preference)
    likely_widths = {group: max(p, key=lambda width: p[width]) for group, p in preference.widths.items()}
    smallest = {group: min(p) for group, p in preference.widths.items()}
    found: list[Configuration] = []
    for start in (likely_widths, smallest):
        assignment = _precision(joint, preference, {**joint.channels, **start}, limit_us)
        if assignment is None:  # not even the fastest precision is enough at these widths: take it, and fewer channels
            assignment = solve(joint.at({**joint.channels, **start}), Sensitivity(weights={}, tensors={}))
        if assignment is not None:
            found += _alternated(joint, preference, assignment, limit_us)
    return max(found, key=preference.value, default=None)


def fastest(joint: JointTable, preference: Preference) -> Configuration:
    """Return the fastest configuration of the candidates that a preference names, by the table.

    Latencies rise with every width, so its widths are the smallest ones.
    """
    joint = _restricted(joint, preference)
    widths = {**joint.channels, **{group: min(p) for group, p in preference.widths.items()}}
    table = joint.at(widths)
    assignment = solve(table, Sensitivity(weights={}, tensors={})) or table.space.complete({})
    return Configuration(assignment=assignment, widths=widths, predicted_us=table.predict_us(assignment))


def _restricted(joint: JointTable, preference: Preference) -> JointTable:
    """Return the table in which a site without a preference is float."""
    space = joint.table.space
    sites = tuple(
        site if site.name in preference.schemes else replace(site, candidates=(FLOAT,)) for site in space.sites
    )
    return replace(joint, table=replace(joint.table, space=replace(space, sites=sites)))


def _alternated(
    joint: JointTable, preference: Preference, assignment: Assignment, limit_us: float
) -> list[Configuration]:
    """Return the configurations on the way to one that neither choice improves."""
    found: list[Configuration] = []
    for _ in range(MOST_ROUNDS):
        widths = _widths(joint, preference, assignment, limit_us)
        if widths is None:
            break
        better = _precision(joint, preference, widths, limit_us)
        assignment = assignment if better is None else better
        predicted_us = joint.predict_us(assignment, widths)
        one = Configuration(assignment=dict(assignment), widths=widths, predicted_us=predicted_us)
        if one in found:
            break
        if predicted_us <= limit_us * (1 + 1e-6):
            found.append(one)
    return found


def _precision(joint: JointTable, preference: Preference, widths: Widths, limit_us: float) -> dict[str, str] | None:
    table = joint.at(widths)
    unlikely = {
        site: {candidate: -log(max(LEAST, probability)) for candidate, probability in p.items()}
        for site, p in preference.schemes.items()
    }
    return solve(table, Sensitivity(weights=unlikely, tensors={}), max_latency_us=limit_us)


def _widths(joint: JointTable, preference: Preference, assignment: Assignment, limit_us: float) -> Widths | None:
    options: dict[str, Sequence[int]] = {group: sorted(p) for group, p in preference.widths.items()}
    if not options:
        return dict(joint.channels)
    others = {group: [channels] for group, channels in joint.channels.items() if group not in options}
    values: dict[str, NDArray[np.float64]] = {
        group: np.array([log(max(LEAST, preference.widths[group][width])) - log(LEAST) for width in widths])
        for group, widths in options.items()
    }
    values |= {group: np.zeros(1) for group in others}
    return solve_widths(joint.law(assignment), {**options, **others}, values, limit_us)
