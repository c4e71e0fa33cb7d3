"""Rewrites the sizes in calls, so that they give the smaller tensors.

Sizes that follow from the tensors (``x.shape[0]``, ``-1``) stay as they are wherever they come out right, so a
compact program takes other batch sizes where the original did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from hwcomp.compaction.kept import Gone
from hwcomp.groups.movement import indexed_axes
from hwcomp.groups.shadow import vector
from hwcomp.groups.walk import filled

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """A call to rewrite.

    Attributes:
        node: in the new graph.
        name: its operator.
        before: what every node held.
        after: what every node up to this one's inputs holds now.
        wanted: what the node has to hold.
        gone: which channel ids are removed.
    """

    node: fx.Node
    name: str
    before: Values
    after: Values
    wanted: Any
    gone: Gone

    @property
    def source(self) -> Tensor:
        """What the first input held before."""
        node: Any = self.node.args[0]
        tensor: Tensor = self.before[node.name]
        return tensor

    @property
    def result(self) -> Tensor:
        """What the node held before."""
        tensor: Tensor = self.before[self.node.name]
        return tensor

    def moved(self, axis: int, position: int) -> int:
        """Return where a boundary between entries along an axis of the input comes to stand."""
        return int((~self.gone[vector(self.source, axis)[:position]]).sum())


def rewrite(edit: Edit) -> None:
    """Change the arguments of a node in place so that it gives what is wanted."""
    change = REWRITES.get(edit.name)
    if change is not None:
        change(edit)
    edit.node.args = _frozen_numbers(edit, edit.node.args)
    edit.node.kwargs = _frozen_numbers(edit, edit.node.kwargs)


def _frozen_numbers(edit: Edit, arguments: Any) -> Any:
    """Put the old value in place of a number that has changed and was no size: it is part of the function."""
    if edit.name in REWRITES:
        return arguments

    def number(node: fx.Node) -> Any:
        old = edit.before[node.name]
        return old if isinstance(old, (int, float)) and old != edit.after[node.name] else node

    return fx.node.map_arg(arguments, number)


def _sizes(position: int, name: str) -> Callable[[Edit], None]:
    """Rewrite a call that is given the shape of its result, as one sequence or as several arguments."""

    def change(edit: Edit) -> None:
        node, wanted = edit.node, list(edit.wanted.shape)
        given: Any = node.args[position:] if len(node.args) > position else (node.kwargs.get(name, ()),)
        sizes = given[0] if len(given) == 1 and not _is_number(edit, given[0]) else given
        if isinstance(sizes, fx.Node):
            if tuple(edit.after[sizes.name]) == tuple(wanted):
                return
            sizes = list(edit.before[sizes.name])
            if wanted[0] == edit.result.shape[0]:
                sizes[0] = -1
        old = edit.result.shape
        new = tuple(_size(edit, size, was, is_now) for size, was, is_now in zip(sizes, old, wanted, strict=True))
        node.args = (*node.args[:position], new)
        node.kwargs = {key: value for key, value in node.kwargs.items() if key != name}

    return change


def _is_number(edit: Edit, value: Any) -> bool:
    return isinstance(edit.after[value.name] if isinstance(value, fx.Node) else value, int)


def _size(edit: Edit, size: Any, was: int, is_now: int) -> Any:
    if isinstance(size, fx.Node):
        return size if edit.after[size.name] == is_now else is_now
    return size if was == is_now or size == -1 else is_now


def _unflatten(edit: Edit) -> None:
    dim = int(filled(edit.node.args[1], edit.after)) % edit.source.ndim
    count = edit.result.ndim - edit.source.ndim + 1
    edit.node.args = (*edit.node.args[:2], tuple(edit.wanted.shape[dim : dim + count]))


def _split(edit: Edit) -> None:
    """``chunk``, ``split`` and ``tensor_split`` become a split into given sizes."""
    old = edit.before[edit.node.name]
    if [part.shape for part in old] == [part.shape for part in edit.wanted] and not _has_changed_number(edit):
        return
    dim: Any = edit.node.args[2] if len(edit.node.args) > 2 else edit.node.kwargs.get("dim", 0)
    sizes = [part.shape[int(dim)] for part in edit.wanted]
    edit.node.op, edit.node.target = "call_function", torch.split
    edit.node.args, edit.node.kwargs = (edit.node.args[0], sizes), {"dim": dim}


def _has_changed_number(edit: Edit) -> bool:
    return any(
        isinstance(edit.before[node.name], int) and edit.before[node.name] != edit.after[node.name]
        for node in edit.node.all_input_nodes
    )


def _index(edit: Edit) -> None:
    """Move the ends of slices, and integers, along axes that get shorter."""
    node: Any = edit.node.args[0]
    if not isinstance(edit.before[node.name], Tensor):
        return
    index: Any = edit.node.args[1]
    parts = index if isinstance(index, tuple) else (index,)
    old_parts = filled(parts, edit.before)
    axes = indexed_axes(old_parts, edit.source.ndim)
    new = tuple(_index_part(edit, part, old, axis) for part, old, axis in zip(parts, old_parts, axes, strict=True))
    edit.node.args = (edit.node.args[0], new if isinstance(index, tuple) else new[0])


def _index_part(edit: Edit, part: Any, old: Any, axis: int) -> Any:
    if old is None or old is Ellipsis:
        return old
    length = edit.source.shape[axis]
    shorter = edit.moved(axis, length) != length
    if not shorter and filled(part, edit.after) == old:
        return part
    if isinstance(old, slice):
        start, stop, _ = old.indices(length)
        start, stop = (edit.moved(axis, start), edit.moved(axis, stop)) if shorter else (start, stop)
        return slice(start, stop if old.stop is not None else None, old.step)
    return edit.moved(axis, old % length) if shorter else old


def _narrow(edit: Edit) -> None:
    _, dim, start, length = filled(edit.node.args, edit.before)
    before, after = edit.moved(dim, start), edit.moved(dim, start + length)
    edit.node.args = (edit.node.args[0], dim, before, after - before)


def _select(edit: Edit) -> None:
    _, dim, index = filled(edit.node.args, edit.before)
    edit.node.args = (edit.node.args[0], dim, edit.moved(dim, index % edit.source.shape[dim]))


def _pad(edit: Edit) -> None:
    """Padding beside channels loses the constants that were added to removed ones."""
    given: Any = edit.node.args[1] if len(edit.node.args) > 1 else edit.node.kwargs["pad"]
    amounts = list(filled(given, edit.before))
    for position in range(0, len(amounts), 2):
        axis = edit.source.ndim - 1 - position // 2
        ids = vector(edit.result, axis)
        if edit.gone[ids].any():
            before, after = amounts[position], amounts[position + 1]
            amounts[position] = int((~edit.gone[ids[:before]]).sum())
            amounts[position + 1] = int((~edit.gone[ids[len(ids) - after :]]).sum())
    rest = edit.node.args[2:]
    edit.node.kwargs = {key: value for key, value in edit.node.kwargs.items() if key != "pad"}
    edit.node.args = (edit.node.args[0], tuple(amounts), *rest)


def _squeeze(edit: Edit) -> None:
    """A squeeze of all axes of size one must not take a channel axis of which one channel is left."""
    if len(edit.node.args) == 1 and not edit.node.kwargs and edit.source.shape != _shape_after(edit):
        dims = tuple(axis for axis, size in enumerate(edit.source.shape) if size == 1)
        edit.node.args = (edit.node.args[0], dims)


def _shape_after(edit: Edit) -> torch.Size:
    node: Any = edit.node.args[0]
    shape: torch.Size = edit.after[node.name].shape
    return shape


def _layer_norm(edit: Edit) -> None:
    given: Any = edit.node.args[1] if len(edit.node.args) > 1 else edit.node.kwargs["normalized_shape"]
    count = len(filled(given, edit.before))
    sizes: Sequence[int] = tuple(edit.wanted.shape[-count:])
    edit.node.kwargs = {key: value for key, value in edit.node.kwargs.items() if key != "normalized_shape"}
    edit.node.args = (edit.node.args[0], sizes, *edit.node.args[2:])


REWRITES: dict[str, Callable[[Edit], None]] = {
    **dict.fromkeys(("reshape", "view"), _sizes(1, "shape")),
    **dict.fromkeys(("expand", "broadcast_to"), _sizes(1, "size")),
    **dict.fromkeys(("chunk", "split", "tensor_split"), _split),
    "unflatten": _unflatten, "getitem": _index, "narrow": _narrow, "select": _select, "pad": _pad,
    "squeeze": _squeeze, "layer_norm": _layer_norm,
}  # fmt: skip
