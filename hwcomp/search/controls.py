"""What a search must beat: configurations that nobody had to search for, all with dense weights."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from hwcomp.joint_cost import JointTable
from hwcomp.scheme import NARROW, is_sparse
from hwcomp.search.joint_projection import Configuration, Preference
from hwcomp.search.knapsack import Sensitivity, solve

STEPS = 128
"""Shares of the channels that the homogeneous control tells apart."""

Key = TypeVar("Key", str, int)


def homogeneous(joint: JointTable, preference: Preference, limit_us: float) -> Configuration | None:
    """Return integers everywhere and the largest share of channels, the same for every group, within a latency.

    Where the target has no integers for an operator, or float is faster there, the fastest precision is taken.
    """
    low, high = 0, STEPS  # the share is at least low / STEPS; what is above high is too slow
    found = smallest(joint, preference)
    if found.predicted_us > limit_us:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        tried = _at_share(joint, preference, middle / STEPS)
        if tried.predicted_us <= limit_us:
            low, found = middle, tried
        else:
            high = middle - 1
    return found


def smallest(joint: JointTable, preference: Preference) -> Configuration:
    """Return integers everywhere and the smallest widths: the fastest that is homogeneous."""
    return _at_share(joint, preference, 0.0)


def _at_share(joint: JointTable, preference: Preference, share: float) -> Configuration:
    widths = {**joint.channels, **{group: _nearest(list(p), share) for group, p in preference.widths.items()}}
    table = _dense(joint).at(widths)
    everywhere = table.space.everywhere(*NARROW)
    fastest = solve(table, Sensitivity(weights={}, tensors={})) or everywhere
    assignment = min((everywhere, fastest), key=table.predict_us)
    return Configuration(assignment=assignment, widths=widths, predicted_us=table.predict_us(assignment))


def precision_alone(joint: JointTable, sensitivity: Sensitivity, limit_us: float) -> Configuration | None:
    """Return all channels and the least sensitive precision within a latency: post-training search with training."""
    table = _dense(joint).at(joint.channels)
    assignment = solve(table, sensitivity, max_latency_us=limit_us)
    if assignment is None:
        return None
    return Configuration(assignment=assignment, widths=dict(joint.channels), predicted_us=table.predict_us(assignment))


def fastest_alone(joint: JointTable) -> Configuration:
    """Return all channels and the fastest precision."""
    return _at_share(joint, Preference(schemes={}, widths={}), 1.0)


def _dense(joint: JointTable) -> JointTable:
    """Return the table without sparse schemes: the sparsest would be the fastest everywhere, and compute nothing."""
    space = joint.table.space
    sites = tuple(
        replace(site, candidates=tuple(choice for choice in site.candidates if not is_sparse(choice)))
        for site in space.sites
    )
    return replace(joint, table=replace(joint.table, space=replace(space, sites=sites)))


def random_preference(preference: Preference, seed: str) -> Preference:
    """Return equally distributed probabilities for the same candidates; projecting them draws from the space."""
    generator = random.Random(seed)  # noqa: S311 - a control, not a secret

    def drawn(candidates: Mapping[Key, float]) -> dict[Key, float]:
        parts = [generator.expovariate(1.0) for _ in candidates]
        return {candidate: part / sum(parts) for candidate, part in zip(candidates, parts, strict=True)}

    return Preference(
        schemes={site: drawn(p) for site, p in preference.schemes.items()},
        widths={group: drawn(p) for group, p in preference.widths.items()},
    )


def _nearest(widths: list[int], share: float) -> int:
    """Return the width that is nearest to a share of the largest."""
    wanted = share * max(widths)
    return min(widths, key=lambda width: abs(width - wanted))
