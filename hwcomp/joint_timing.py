"""The joint table of widths and precision: networks of other widths, timed in float and in integers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from hwcomp.cost import CostTable
from hwcomp.groups import Groups
from hwcomp.joint_cost import JointTable, at_full
from hwcomp.program import Program
from hwcomp.scheme import reads_integers
from hwcomp.space import conversion
from hwcomp.width_designs import MULTIPLES, designed_widths, fast_multiple, trial_widths
from hwcomp.width_fit import Counts, Timed, nonnegative, site_laws
from hwcomp.width_law import Polynomial
from hwcomp.width_timing import Timer, time_widths, within

Point = Sequence[Timed]
"""One network under each of the timed assignments."""


def joint_table(
    network: Program,
    groups: Groups,
    table: CostTable,
    timers: Sequence[Timer],
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> JointTable:
    r"""Return the laws by which a table's entries fall with the widths, fitted to networks that are timed for it.

    A site's law comes from the assignment that has its scheme, or one that reads the same numbers, and is scaled to
    what the table says of the full width:

    .. math:: t_{s,a}(n) = t_{s,a} \frac{f_{s,a}(n)}{f_{s,a}(\text{full})}

    Conversions are seen at few tensors: their laws are a start and a time for each element, in the proportion that the
    table shows at full widths.

    Args:
        network: as traced, with all channels.
        groups: of it.
        table: of the network after the default passes.
        timers: one for each assignment that is timed: float everywhere, then integers everywhere; the last one also
            tells which channel counts are fast.
        seed: of the widths.
        advance: called after each of `joint_timings` timings.
    """
    designs, trials = designed_widths(groups, seed), [trial_widths(groups, multiple) for multiple in MULTIPLES]
    points = [time_widths(network, groups, widths, timers, advance) for widths in designs]
    tried = [time_widths(network, groups, widths, timers[-1:], advance)[0] for widths in trials]
    counts = Counts(network, groups, table.space.edges)
    joint = _fitted(counts, table, points)
    integers = joint.law(within(table.space, points[0][-1].profile.assignment))
    return replace(
        joint,
        error=_error(counts, table, points),
        networks=joint_timings(groups, len(timers)),
        multiple=fast_multiple(integers, list(zip(MULTIPLES, tried, strict=True))),
    )


def joint_timings(groups: Groups, timers: int = 2) -> int:
    """Return how many networks `joint_table` times."""
    return timers * len(designed_widths(groups, 0)) + len(MULTIPLES)


def _fitted(counts: Counts, table: CostTable, points: Sequence[Point]) -> JointTable:
    """Return the table whose laws are fitted to some networks."""
    seen: dict[str, dict[str, Polynomial]] = {}
    for timed in zip(*points, strict=True):
        assignment = within(table.space, timed[0].profile.assignment)
        converted = {edge.tensor for edge in table.space.edges if conversion(edge, assignment)}
        laws = site_laws(counts, [_as_whole(one) for one in timed])
        for site in table.space.sites:
            own = laws.sites.get(site.name, Polynomial())
            if site.name not in converted:  # then it is the memory layout that changes, which the table books to sites
                own += laws.tensors.get(site.name, Polynomial())
            seen.setdefault(site.name, {}).setdefault(assignment[site.name], own)
    return JointTable(
        table=table,
        channels=counts.channels,
        site_laws={
            site: {scheme: at_full(_nearest(seen[site], scheme), us, counts.channels) for scheme, us in times.items()}
            for site, times in table.site_us.items()
        },
        quantize_laws=_conversion_laws(counts, table.quantize_us),
        dequantize_laws=_conversion_laws(counts, table.dequantize_us),
    )


def _as_whole(timed: Timed) -> Timed:
    """Return a network whose kernels add up to its latency: a profiler's own time weighs most in narrow networks."""
    profile = timed.profile
    scale = timed.latency_us / max(profile.total_us, 1e-9)
    site_us = {name: scale * us for name, us in profile.site_us.items()}
    tensor_us = {name: scale * us for name, us in profile.tensor_us.items()}
    return replace(timed, profile=replace(profile, site_us=site_us, tensor_us=tensor_us))


def _nearest(laws: Mapping[str, Polynomial], scheme: str) -> Polynomial:
    """Return the law of a scheme, or of one that reads the same numbers, or of any."""
    return laws[min(laws, key=lambda other: (other != scheme, reads_integers(other) != reads_integers(scheme)))]


def _conversion_laws(counts: Counts, times_us: Mapping[str, float]) -> dict[str, Polynomial]:
    """Return the laws of all conversions of one direction."""
    elements = {tensor: counts.of_tensor(tensor) for tensor in times_us}
    features = np.array([[1.0, law(counts.channels)] for law in elements.values()]).reshape(-1, 2)
    start, each = nonnegative(features, np.array(list(times_us.values())))
    return {
        tensor: at_full(Polynomial(constant=start) + elements[tensor].scaled(each), us, counts.channels)
        for tensor, us in times_us.items()
    }


def _error(counts: Counts, table: CostTable, points: Sequence[Point]) -> float:
    """Return the median relative error on networks that were left out, at the level of the others' latencies."""
    errors = []
    for index, left_out in enumerate(points):
        others = [*points[:index], *points[index + 1 :]]
        joint = _fitted(counts, table, others)
        for order, one in enumerate(left_out):
            law = joint.law(within(table.space, one.profile.assignment))
            level = median(other[order].latency_us / law(other[order].widths) for other in others)
            errors.append(abs(level * law(one.widths) / one.latency_us - 1))
    return float(np.median(errors))
