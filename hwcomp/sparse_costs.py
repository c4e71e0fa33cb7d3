r"""What layers cost that compute with a part of their weights, by the widths, and which of them are worth having.

Zeros decide the speed, so networks are timed that have them: whole ones at every density, and narrow ones at densities
in turn. The time of a layer at density k is fitted to all of them together, in the form of `hwcomp.width_fit`, where
only the products that are left count:

.. math:: t_{s,k}(n) = a_s + b_s\, \mathrm{in}_s(n) + c_s\, \mathrm{out}_s(n) + d_s\, k\, \mathrm{macs}_s(n)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from hwcomp.choice import Choice
from hwcomp.compaction import compact
from hwcomp.entries import Profile
from hwcomp.groups import Groups
from hwcomp.joint_cost import JointTable, at_full
from hwcomp.ops import module_of
from hwcomp.passes.insert_sparse_choices import InsertSparseChoices
from hwcomp.program import Program
from hwcomp.scheme import FLOAT, Sparse, is_sparse
from hwcomp.space import Assignment, SearchSpace
from hwcomp.sparsity import network_with_zeros
from hwcomp.width_designs import designed_widths
from hwcomp.width_fit import Counts, nonnegative
from hwcomp.width_law import Polynomial, Widths
from hwcomp.width_timing import Timer

DENSITIES = (0.3, 0.2, 0.1)
"""Shares of a layer's weights that a search may leave."""

BLOCK = (4, 1)
"""Output and input channels that share a pattern."""

TimerOf = Callable[[Assignment], Timer]
"""Gives what times networks under an assignment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseCost:
    """What a layer takes at one density.

    Attributes:
        choice: its scheme, as a candidate is named.
        ratio: its latency by that of the same layer with all weights.
        law: its latency by the widths; only how it falls counts.
    """

    choice: str
    ratio: float
    law: Polynomial


@dataclass(frozen=True, kw_only=True, slots=True)
class _Point:
    """A network of one density and some widths, timed; `sites` are those that a sparse kernel computed."""

    density: float
    widths: Widths
    sites: Mapping[str, float]


def timed_sparse(
    network: Program,
    groups: Groups,
    space: SearchSpace,
    seed: int,
    timer_of: TimerOf,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, list[SparseCost]]:
    """Return what each layer that has a sparse kernel takes at each of `DENSITIES`, the densest first.

    Args:
        network: as traced, with all channels.
        groups: of it.
        space: of the network after the default passes.
        seed: of the widths.
        timer_of: times networks.
        advance: called after each of `sparse_timings` timings.
    """
    schemes = _schemes(network, space)
    if not schemes:
        return {}
    counts, whole_us = Counts(network, groups, space.edges), _site_times(*timer_of({})(network))
    advance()
    points = list[_Point]()
    for density, widths in _designs(groups, seed):
        wanted = {site: own[density] for site, own in schemes.items() if density in own}
        narrow = compact(network, groups, {name: range(width) for name, width in widths.items()})
        profile, latency_us = timer_of(wanted)(network_with_zeros(narrow, wanted))
        times = _site_times(profile, latency_us)
        computed = {site: times[site] for site in wanted if is_sparse(profile.assignment.get(site, FLOAT))}
        points.append(_Point(density=density, widths={**counts.channels, **widths}, sites=computed))
        advance()
    return {
        site: costs
        for site, own in schemes.items()
        if (costs := _costs(site, own, counts, points, whole_us.get(site, 0.0)))
    }


def sparse_timings(groups: Groups) -> int:
    """Return how many networks `timed_sparse` times, at most."""
    return 1 + len(list(_designs(groups, 0)))


def with_sparse(joint: JointTable, costs: Mapping[str, Sequence[SparseCost]]) -> JointTable:
    """Return the table with sparse layers as further candidates, where they are faster than all that keep more."""
    added: dict[str, dict[str, Polynomial]] = {}
    for site, own in costs.items():
        whole_us = best_us = joint.table.site_us[site][FLOAT]
        for cost in own:
            us = cost.ratio * whole_us
            if us < best_us and cost.choice not in joint.table.site_us[site]:
                added.setdefault(site, {})[cost.choice] = at_full(cost.law, us, joint.channels)
                best_us = us
    return joint.with_candidates(added)


def _schemes(network: Program, space: SearchSpace) -> dict[str, dict[float, str]]:
    """Return the sparse scheme of each density, for every layer of the network that is a site."""
    offered = InsertSparseChoices(densities=DENSITIES, blocks=(BLOCK,))(network).program
    modules = {node.name: module_of(node) for node in offered.nodes}
    names = {density: str(Sparse(rows=BLOCK[0], columns=BLOCK[1], density=density)) for density in DENSITIES}
    found = {}
    for site in space.sites:
        module = modules.get(site.name)
        if isinstance(module, Choice):
            found[site.name] = {density: name for density, name in names.items() if name in module.candidates}
    return found


def _designs(groups: Groups, seed: int) -> Iterator[tuple[float, dict[str, int]]]:
    """Give densities and widths: every density at full widths, then other widths at one density each."""
    whole, *others = designed_widths(groups, seed)
    yield from ((density, whole) for density in DENSITIES)
    if groups.groups:
        yield from zip(cycle(DENSITIES), others, strict=False)


def _site_times(profile: Profile, latency_us: float) -> dict[str, float]:
    """Return the time of each site with the changes of layout of what it gives; all add up to the whole's latency."""
    scale = latency_us / max(profile.total_us, 1e-9)
    names = dict.fromkeys([*profile.assignment, *profile.site_us])
    return {name: scale * (profile.site_us.get(name, 0.0) + profile.tensor_us.get(name, 0.0)) for name in names}


def _costs(
    site: str, schemes: Mapping[float, str], counts: Counts, points: Sequence[_Point], whole_us: float
) -> list[SparseCost]:
    """Return what a site takes at each density at which a sparse kernel computed it at full widths."""
    known = [point for point in points if site in point.sites]
    at_whole = {point.density: point.sites[site] for point in known if dict(point.widths) == dict(counts.channels)}
    if not at_whole or whole_us <= 0:
        return []
    features = counts.features(site)
    values = [[_at(features, index, p.density)(p.widths) for index in range(len(features))] for p in known]
    factors = nonnegative(np.array(values), np.array([point.sites[site] for point in known]))
    return [
        SparseCost(
            choice=schemes[density],
            ratio=us / whole_us,
            law=sum((_at(features, i, density).scaled(f) for i, f in enumerate(factors)), Polynomial()),
        )
        for density, us in at_whole.items()
    ]


PRODUCTS = 3
"""Place of the products among the features of a site."""


def _at(features: Sequence[Polynomial], index: int, density: float) -> Polynomial:
    """Return a feature of a site at a density."""
    return features[index].scaled(density) if index == PRODUCTS else features[index]
