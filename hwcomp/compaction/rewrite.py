"""Rewrites the sizes in calls, so that they give the smaller tensors.

Sizes that follow from the tensors (``x.shape[0]``, ``-1``) stay as they are wherever they come out right, so a
compact program takes other batch sizes where the original did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from hwcomp.compaction.cut import removed_along
from hwcomp.compaction.kept import Gone
from hwcomp.groups.movement import indexed_axes
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
        return int((~removed_along(self.source, axis, self.gone)[:position]).sum())


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


def _reshape(edit: Edit) -> None:
    """Sizes of a reshape; one that was computed and comes out wrong is left to PyTorch, whatever the batch."""
    sizes = _given_sizes(edit, "shape")
    if sizes is None:
        return
    if isinstance(sizes, fx.Node):
        _set_sizes(edit, [-1 if axis == 0 else size for axis, size in enumerate(edit.wanted.shape)], "shape")
        return
    new = _corrected(edit, sizes)
    computed = [
        axis
        for axis, (size, now) in enumerate(zip(sizes, new, strict=True))
        if isinstance(size, fx.Node) and size is not now
    ]
    if computed and not any(isinstance(size, int) and size == -1 for size in new):
        new[computed[0]] = -1
    _set_sizes(edit, new, "shape")


def _expand(edit: Edit) -> None:
    sizes = _given_sizes(edit, "size")
    if sizes is not None:
        _set_sizes(edit, edit.wanted.shape if isinstance(sizes, fx.Node) else _corrected(edit, sizes), "size")


def _given_sizes(edit: Edit, name: str) -> Any:
    """Return the sizes that a call is given, in one sequence or several arguments; None where they come out right."""
    node = edit.node
    given: Any = node.args[1:] if len(node.args) > 1 else (node.kwargs.get(name, ()),)
    sizes = given if _is_number(edit, given[0]) else given[0]
    if isinstance(sizes, fx.Node):
        return None if tuple(edit.after[sizes.name]) == tuple(edit.wanted.shape) else sizes
    return sizes if isinstance(sizes, (tuple, list)) and _corrected(edit, sizes) != list(sizes) else None


def _is_number(edit: Edit, value: Any) -> bool:
    return isinstance(edit.after[value.name] if isinstance(value, fx.Node) else value, int)


def _corrected(edit: Edit, sizes: Sequence[Any]) -> list[Any]:
    """Return sizes, those replaced that would come out wrong."""
    new = []
    for size, was, is_now in zip(sizes, edit.result.shape, edit.wanted.shape, strict=True):
        right = edit.after[size.name] == is_now if isinstance(size, fx.Node) else was == is_now or size == -1
        new.append(size if right else is_now)
    return new


def _set_sizes(edit: Edit, sizes: Sequence[Any], name: str) -> None:
    node = edit.node
    node.args = (node.args[0], tuple(sizes))
    node.kwargs = {key: value for key, value in node.kwargs.items() if key != name}


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
        stays = ~removed_along(edit.result, axis, edit.gone)
        if not stays.all():
            before, after = amounts[position], amounts[position + 1]
            amounts[position] = int(stays[:before].sum())
            amounts[position + 1] = int(stays[len(stays) - after :].sum())
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
    **dict.fromkeys(("reshape", "view"), _reshape),
    **dict.fromkeys(("expand", "broadcast_to"), _expand),
    **dict.fromkeys(("chunk", "split", "tensor_split"), _split),
    "unflatten": _unflatten, "getitem": _index, "narrow": _narrow, "select": _select, "pad": _pad,
    "squeeze": _squeeze, "layer_norm": _layer_norm,
}  # fmt: skip
