"""What layers cost whose filters compute in two schemes, and which of them are worth having."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hwcomp.entries import Profile
from hwcomp.filter_splits import split_assignment, split_network
from hwcomp.joint_cost import JointTable, at_full
from hwcomp.passes.split_filters import part_names
from hwcomp.program import Program
from hwcomp.scheme import FLOAT, INT8, WEIGHT4, WEIGHT8, Split, schemes_of, writes_integers
from hwcomp.space import Assignment, SearchSpace
from hwcomp.width_law import Polynomial
from hwcomp.width_timing import Timer

PAIRS = ((FLOAT, INT8.name), (WEIGHT8.name, WEIGHT4.name))
"""Schemes that one layer may have together, the more precise one first."""

TimerOf = Callable[[Assignment], Timer]
"""Gives what times networks under an assignment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitCost:
    """What a layer of two schemes takes.

    Attributes:
        choice: the two schemes, as a candidate is named.
        ratio: its latency by that of the same layer in the second scheme alone, with the concatenation and the changes
            of format within it.
    """

    choice: str
    ratio: float


def timed_splits(
    network: Program, space: SearchSpace, layers: Sequence[str], share: float, multiple: int, timer_of: TimerOf
) -> dict[str, list[SplitCost]]:
    """Time a network whose layers are all split against the same one whole, for each pair of schemes that it can have.

    Args:
        network: as traced, with all channels.
        space: of the network after the default passes; tells the candidates of each layer.
        layers: that may be split.
        share: of the filters that the more precise scheme gets.
        multiple: channel counts that the target is fond of; parts begin at multiples of it.
        timer_of: times networks.
    """
    found: dict[str, list[SplitCost]] = {}
    for first, second in PAIRS:
        split = Split(first=first, share=share, second=second)
        able = {site.name: split for site in space.sites if {first, second} <= {*site.candidates}}
        splits = {name: split for name in layers if name in able}
        if not splits:
            continue
        whole = space.everywhere(second)
        in_parts = split_network(network, splits, multiple)
        wanted = split_assignment(in_parts, whole | dict.fromkeys(splits, str(split)))
        alone, parts = timer_of(whole)(network), timer_of(wanted)(in_parts)
        for layer in splits:
            if part_names(layer)[0] in wanted:
                ratio = _in_parts_us(layer, *parts) / max(whole_us(layer, *alone), 1e-9)
                found.setdefault(layer, []).append(SplitCost(choice=str(split), ratio=ratio))
    return found


def whole_us(layer: str, profile: Profile, latency_us: float) -> float:
    """Return what a layer takes in a network that was profiled and timed as a whole."""
    return _scale(profile, latency_us) * profile.site_us.get(layer, 0.0)


def _in_parts_us(layer: str, profile: Profile, latency_us: float) -> float:
    """Return what a layer in two parts takes, with the concatenation and the changes of format behind its parts."""
    names = part_names(layer)
    sites = sum(profile.site_us.get(name, 0.0) for name in names)
    conversions = sum(profile.tensor_us.get(name, 0.0) for name in names[:2])
    return _scale(profile, latency_us) * (sites + conversions)


def _scale(profile: Profile, latency_us: float) -> float:
    """Return what makes the kernels of a network add up to its latency."""
    return latency_us / max(profile.total_us, 1e-9)


def with_splits(joint: JointTable, costs: Mapping[str, list[SplitCost]]) -> JointTable:
    r"""Return the table with layers of two schemes as further candidates, where they pay.

    They do where they are faster than the first scheme alone between layers in the second,

    .. math:: t_{split} < t_{first} + q

    with the change of format q behind it that the split layer does not need if it writes integers. Otherwise the whole
    layer in the more precise scheme is both better and faster.
    """
    table, added = joint.table, dict[str, dict[str, Polynomial]]()
    for site in costs:
        for cost in costs[site]:
            first_us, second_us = (table.site_us[site][scheme] for scheme in schemes_of(cost.choice))
            us = cost.ratio * second_us
            saved_us = table.quantize_us.get(site, 0.0) if writes_integers(cost.choice) else 0.0
            if second_us < us < first_us + saved_us:
                law = at_full(joint.site_laws[site][schemes_of(cost.choice)[1]], us, joint.channels)
                added.setdefault(site, {})[cost.choice] = law
    return joint.with_candidates(added)
