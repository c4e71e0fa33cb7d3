"""Program -> program that computes the same with its channels in another order."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwcomp.compaction.kept import check_groups
from hwcomp.errors import InputError, PassError
from hwcomp.groups import Groups
from hwcomp.groups.model import Ids
from hwcomp.program import EQUAL_TOLERANCE, Program, finish, outputs


def permuted(program: Program, groups: Groups, order: Mapping[str, Sequence[int]]) -> Program:
    """Return a program whose channel ``i`` of a group is the channel ``order[i]`` of the program.

    Before: ``conv (rows 0 1 2 3) -> BatchNorm (0 1 2 3) -> conv (columns 0 1 2 3)``; after, by the order ``2 0 3 1``:
    ``conv (rows 2 0 3 1) -> BatchNorm (2 0 3 1) -> conv (columns 2 0 3 1)``. All members of a group change at once, so
    the outputs stay. Where a channel has several entries along an axis, each takes the place of that of the same rank.

    Args:
        program: whose groups these are; it is not changed. The groups are those of the result as well.
        groups: of the program.
        order: group name -> all of its channels, each once; groups that are not named keep their order.

    Raises:
        InputError: an unknown group, or an order that is none of all its channels.
        PassError: the outputs would change: the network tells channels of a group apart by where they are.
    """
    check_groups(program.module, groups)
    sources = _sources(groups, order)
    moved = copy.deepcopy(program.module, _in_order(program.module, groups, sources))
    result = finish(replace(program, module=moved))
    _check_outputs(program, result, order)
    return result


def _sources(groups: Groups, order: Mapping[str, Sequence[int]]) -> Ids:
    """Return for each unit the one that takes its place; the last entry is for -1, which stays.

    Raises:
        InputError: an unknown group, or an order that is none of all its channels.
    """
    for name, channels in order.items():
        count = groups[name].channels
        if sorted(int(channel) for channel in channels) != list(range(count)):
            raise InputError(
                f"The order of group {name!r} has {len(channels)} entries and does not name each of its channels, "
                f"0 to {count - 1}, once; give a permutation of them."
            )
    sources: list[Ids] = []
    start = 0
    for group in groups.groups:
        sources.append(start + np.asarray(order.get(group.name, range(group.channels)), dtype=np.int64))
        start += group.channels
    return np.concatenate([*sources, np.array([-1])])


def _in_order(module: nn.Module, groups: Groups, sources: Ids) -> dict[int, Tensor]:
    """Return parameters and buffers in the new order by the identity of those whose place they take in a copy."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    changed: dict[str, Tensor] = {}
    for (path, axis), ids in groups.axes.items():
        entries = _entries(groups.units[ids], sources)
        if (entries != np.arange(len(entries))).any():
            tensor = changed.get(path, tensors[path].detach())
            changed[path] = tensor.index_select(axis, torch.from_numpy(entries).to(tensor.device))
    return {
        id(tensors[path]): nn.Parameter(tensor, tensors[path].requires_grad)
        if isinstance(tensors[path], nn.Parameter)
        else tensor
        for path, tensor in changed.items()
    }


def _entries(units: Ids, sources: Ids) -> Ids:
    """Return for each entry along an axis the one that takes its place: of its unit's source, and of its rank there."""
    entries: Ids = np.empty(len(units), dtype=np.int64)
    entries[np.argsort(sources[units], kind="stable")] = np.argsort(units, kind="stable")
    return entries


def _check_outputs(program: Program, result: Program, order: Mapping[str, Any]) -> None:
    """Compare the outputs on the example inputs, in eval mode."""
    found = [outputs(replace(one, module=copy.deepcopy(one.module).eval())) for one in (program, result)]
    for before, after in zip(*found, strict=True):
        scale = before.double().abs().max().clamp_min(1e-6) if before.numel() else 1.0
        difference = (before.double() - after.double()).abs()
        if not bool((difference <= EQUAL_TOLERANCE * scale).all()):
            raise PassError(
                f"The channels of {', '.join(order)} cannot be put in this order: the outputs would change, since the "
                "network treats some of them differently by their position."
            )
