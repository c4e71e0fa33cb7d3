"""Puts the widths of groups into the layers that read their channels."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from hwcomp.compaction.masked import NORMS
from hwcomp.errors import InputError
from hwcomp.groups import Groups
from hwcomp.groups.call import tensors_in
from hwcomp.groups.layers import is_depthwise
from hwcomp.groups.model import Ids
from hwcomp.groups.operators import name_of
from hwcomp.groups.shadow import core, numbers
from hwcomp.groups.walk import paths_of
from hwcomp.ops import anchor, module_of
from hwcomp.program import Note, Program, finish, fresh_name
from hwcomp.supernet.rounding import READERS, TRANSPOSED, weight_name
from hwcomp.supernet.width import Gate, Gated, WidthSite

PRODUCTS = frozenset({"matmul", "bmm", "mm", "einsum", "scaled_dot_product_attention"})
"""Operators without a weight that may sum over channels."""


def insert_width_choices(
    program: Program,
    source: Program,
    groups: Groups,
    widths: Mapping[str, Sequence[int]],
    ranks: Mapping[str, Tensor],
) -> tuple[Program, tuple[Note, ...]]:
    """Return a program whose readers of searched groups see what widths leave, and the groups that were left out.

    Before: ``x -> conv -> y``; after: ``x -> Gated(conv; widths of x) -> y``. With one width per group it computes what
    `hwcomp.compaction.masked` gives, in training too. A group is left out where statistics or products run over its
    channels: those of channels that are half there would be of no network at all.

    Args:
        program: the source after passes; its leaf modules are those of the source.
        source: the network as traced.
        groups: of the source.
        widths: group -> widths to choose from, ascending, the last one full; groups that are not named stay as wide.
        ranks: group -> rank of each channel, 0 for the most important one, (C,).

    Raises:
        InputError: an unknown group, or widths or ranks that do not fit it.
    """
    reasons = _mixed(source, groups)
    sites = {}
    for name in widths:
        group = groups[name]
        if name not in ranks or len(ranks[name]) != group.channels:
            raise InputError(f"Group '{name}' has {group.channels} channels; give the rank of each of them.")
        if name not in reasons:
            sites[name] = WidthSite(name, widths[name], torch.as_tensor(ranks[name]))
    result, paths = program.fork(), paths_of(source)
    for node in result.nodes:
        module = module_of(node)
        if module is None:
            continue
        gate, weight = _gate(anchor(module), groups, sites, paths), weight_name(module)
        if gate is not None and weight is not None:
            path = fresh_name(result.module, f"{node.name}_gated")
            result.module.add_submodule(path, Gated(module, gate, weight))
            node.target = path
    read = {site.group for part in result.module.modules() if isinstance(part, Gate) for site in part.widths}
    reasons |= {name: "width not searched: no layer reads its channels" for name in sites if name not in read}
    return finish(result), tuple(Note(site=name, reason=reasons[name]) for name in widths if name in reasons)


def _gate(operator: nn.Module, groups: Groups, sites: Mapping[str, WidthSite], paths: Mapping[int, str]) -> Gate | None:
    """Return what widths do to an operator's weight; None if it reads no searched channels."""
    if not isinstance(operator, (*READERS, *TRANSPOSED)) or is_depthwise(operator):
        return None
    axis = 0 if isinstance(operator, TRANSPOSED) else 1
    ids = groups.axes.get((paths.get(id(operator.weight), ""), axis))
    if ids is None:
        return None
    units = groups.units[ids]
    read = [name for name in _names(groups, units) if name in sites]
    if not read:
        return None
    entries, before, ends = np.zeros(len(units), dtype=np.int64), 0, _ends(groups)
    for name in read:
        end, count = ends[name], groups[name].channels
        own = (units >= end - count) & (units < end)
        entries[own] = 1 + before + units[own] - (end - count)
        before += count
    return Gate([sites[name] for name in read], torch.from_numpy(entries), axis)


def _ends(groups: Groups) -> dict[str, int]:
    """Return for each group the unit after its last one."""
    counts = np.cumsum([group.channels for group in groups.groups])
    return {group.name: int(end) for group, end in zip(groups.groups, counts, strict=True)}


def _names(groups: Groups, units: Ids) -> Iterator[str]:
    """Give the groups that units are of, in the order of groups."""
    for name, end in _ends(groups).items():
        if ((units >= end - groups[name].channels) & (units < end)).any():
            yield name


def _mixed(source: Program, groups: Groups) -> dict[str, str]:
    """Return the groups whose channels something else than a layer's weight sums over, with the reason."""
    reasons: dict[str, str] = {}
    for node in source.nodes:
        if not node.op.startswith("call_"):
            continue
        operator = name_of(node, module_of(node))
        if operator in NORMS:
            lost, what = _units(groups, node.all_input_nodes[0].name), "takes statistics over its channels"
        elif operator in PRODUCTS:
            inputs = [_units(groups, argument.name) for argument in node.all_input_nodes]
            lost = np.setdiff1d(np.concatenate(inputs), _units(groups, node.name))
            what = "sums over its channels"
        else:
            continue
        for name in _names(groups, lost):
            reasons.setdefault(name, f"width not searched: {node.name} {what}")
    return reasons


def _units(groups: Groups, node: str) -> Ids:
    """Return the removable units that a node's value holds."""
    held = [groups.units[numbers(core(ids))].reshape(-1) for ids in tensors_in(groups.values.get(node))]
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *held]))
