"""Layers whose filters compute in two schemes: which filters matter most, and the network that a choice of them means.

No runtime has a kernel for a layer of two precisions. It is lowered as two layers and a concatenation, so the channels
that the more precise scheme gets are put first, in all layers of their width group at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hwcomp.compaction.permute import permuted
from hwcomp.groups import Groups
from hwcomp.groups.model import Ids
from hwcomp.ops import module_of
from hwcomp.passes.split_filters import SplitFilters, part_names
from hwcomp.program import Program
from hwcomp.scheme import FLOAT, Split, split_of, writes_integers
from hwcomp.space import Assignment


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """The filters of a layer as channels of a width group.

    Attributes:
        group: its name.
        channels: of the group, one for each filter.
    """

    group: str
    channels: Ids


def filters_of(network: Program, groups: Groups) -> dict[str, Filters]:
    """Return the layers of a network, as traced, all of whose filters are channels of one group, each once."""
    found = {}
    starts = np.cumsum([0, *(group.channels for group in groups.groups)])
    for node in network.nodes:
        if not isinstance(module_of(node), (nn.Conv2d, nn.Linear)):
            continue
        units = groups.units[groups.axes[f"{node.target}.weight", 0]]
        owner = int(np.searchsorted(starts, units[0], side="right")) - 1
        if units.min() < 0 or len(groups.groups) <= owner or len(units) != groups.groups[owner].channels:
            continue
        channels = units - starts[owner]
        if sorted(channels.tolist()) == list(range(len(channels))):
            found[node.name] = Filters(group=groups.groups[owner].name, channels=channels)
    return found


def filter_ranks(filters: Mapping[str, Filters], ranks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the rank of each filter of every layer, 0 for the one that matters most, (C_out,).

    Args:
        filters: of a network.
        ranks: group -> rank of each channel; layers of other groups are left out.
    """
    return {
        layer: ranks[own.group][torch.from_numpy(own.channels)] for layer, own in filters.items() if own.group in ranks
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """A network and the scheme of every layer; no layer has two of them.

    Attributes:
        network: as traced.
        assignment: site -> scheme, of the network after the default passes.
    """

    network: Program
    assignment: Assignment


def built(
    network: Program, groups: Groups, scores: Mapping[str, Tensor], assignment: Assignment, multiple: int
) -> Built:
    """Return the network in which layers of two schemes are two layers each.

    Before: ``x -> conv (float:0.25+int8) -> y``; after: ``x -> conv_part0 (float) -> conv_cat -> y`` and
    ``x -> conv_part1 (int8) -> conv_cat``. A layer that is too narrow to be split takes the cheaper scheme, its second.

    Args:
        network: as traced.
        groups: of it.
        scores: group -> importance of its channels; the best ones come first.
        assignment: site -> scheme or two schemes.
        multiple: channel counts that the target is fond of.
    """
    splits = {site: split for site, choice in assignment.items() if (split := split_of(choice)) is not None}
    if not splits:
        return Built(network=network, assignment=assignment)
    filters = filters_of(network, groups)
    order = {
        own.group: torch.argsort(scores[own.group], descending=True, stable=True).tolist()
        for site, own in filters.items()
        if site in splits and own.group in scores
    }
    network = split_network(permuted(network, groups, order), splits, multiple)
    return Built(network=network, assignment=split_assignment(network, assignment))


def split_network(network: Program, splits: Mapping[str, Split], multiple: int) -> Program:
    """Return the network whose layers are split as far as they are wide enough."""
    by_share: dict[float, list[str]] = {}
    for site, split in splits.items():
        by_share.setdefault(split.share, []).append(site)
    for share, sites in by_share.items():
        network = SplitFilters(share=share, sites=tuple(sites), multiple=multiple)(network).program
    return network


def split_assignment(network: Program, assignment: Assignment) -> dict[str, str]:
    """Return what an assignment with layers of two schemes means for a network that was split by `split_network`."""
    names = {node.name for node in network.nodes}
    found: dict[str, str] = {}
    for site, choice in assignment.items():
        split = split_of(choice)
        if split is None:
            found[site] = choice
        elif (parts := part_names(site))[0] in names:
            joins = next((one for one in (split.second, split.first) if writes_integers(one)), FLOAT)
            found |= dict(zip(parts, (split.first, split.second, joins), strict=True))
        else:
            found[site] = split.second
    return found
