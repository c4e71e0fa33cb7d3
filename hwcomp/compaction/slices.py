"""Rewrites calls that take parts of a tensor, or add to it."""

from typing import Any

import torch
from torch import Tensor

from hwcomp.compaction.cut import removed_along
from hwcomp.compaction.edit import Edit
from hwcomp.groups.movement import indexed_axes
from hwcomp.groups.walk import filled


def split(edit: Edit) -> None:
    """``chunk``, ``split`` and ``tensor_split`` become a split into given sizes."""
    old = edit.before[edit.node.name]
    if [part.shape for part in old] == [part.shape for part in edit.wanted] and not edit.has_other_numbers():
        return
    dim: Any = edit.node.args[2] if len(edit.node.args) > 2 else edit.node.kwargs.get("dim", 0)
    sizes = [part.shape[int(dim)] for part in edit.wanted]
    edit.node.op, edit.node.target = "call_function", torch.split
    edit.node.args, edit.node.kwargs = (edit.node.args[0], sizes), {"dim": dim}


def index(edit: Edit) -> None:
    """Move the ends of slices, and integers, along axes that get shorter."""
    node: Any = edit.node.args[0]
    if not isinstance(edit.before[node.name], Tensor):
        return
    given: Any = edit.node.args[1]
    parts = given if isinstance(given, tuple) else (given,)
    old_parts = filled(parts, edit.before)
    axes = indexed_axes(old_parts, edit.source.ndim)
    new = tuple(_index_part(edit, part, old, axis) for part, old, axis in zip(parts, old_parts, axes, strict=True))
    edit.node.args = (edit.node.args[0], new if isinstance(given, tuple) else new[0])


def _index_part(edit: Edit, part: Any, old: Any, axis: int) -> Any:
    if old is None or old is Ellipsis or isinstance(old, (Tensor, list)):
        return part
    length = edit.source.shape[axis]
    shorter = edit.moved(axis, length) != length
    if not shorter and filled(part, edit.after) == old:
        return part
    if isinstance(old, slice):
        start, stop, _ = old.indices(length)
        start, stop = (edit.moved(axis, start), edit.moved(axis, stop)) if shorter else (start, stop)
        return slice(start, stop if old.stop is not None else None, old.step)
    return edit.moved(axis, old % length) if shorter else old


def narrow(edit: Edit) -> None:
    """A range given by its start and length."""
    dim, start = edit.value(1, "dim"), edit.value(2, "start")
    if not edit.is_right(dim):
        first = edit.moved(dim, start)
        edit.set_arguments(dim, first, edit.moved(dim, start + edit.value(3, "length")) - first)


def select(edit: Edit) -> None:
    """One entry, counted without those that are removed before it."""
    dim, entry = edit.value(1, "dim"), edit.value(2, "index")
    if not edit.is_right(dim):
        edit.set_arguments(dim, edit.moved(dim, entry % edit.source.shape[dim]))


def pad(edit: Edit) -> None:
    """Padding beside channels loses the constants that were added to removed ones."""
    amounts = list(edit.value(1, "pad"))
    for position in range(0, len(amounts), 2):
        axis = edit.source.ndim - 1 - position // 2
        stays = ~removed_along(edit.result, axis, edit.gone)
        if not stays.all():
            before, after = amounts[position], amounts[position + 1]
            amounts[position] = int(stays[:before].sum())
            amounts[position + 1] = int(stays[len(stays) - after :].sum())
    rest = edit.node.args[2:]
    edit.node.kwargs = {key: value for key, value in edit.node.kwargs.items() if key != "pad"}
    edit.node.args = (edit.node.args[0], tuple(amounts), *rest)


def squeeze(edit: Edit) -> None:
    """A squeeze of all axes of size one must not take a channel axis of which one channel is left."""
    if len(edit.node.args) == 1 and not edit.node.kwargs and edit.source.shape != _shape_after(edit):
        dims = tuple(axis for axis, size in enumerate(edit.source.shape) if size == 1)
        edit.node.args = (edit.node.args[0], dims)


def _shape_after(edit: Edit) -> torch.Size:
    node: Any = edit.node.args[0]
    shape: torch.Size = edit.after[node.name].shape
    return shape
