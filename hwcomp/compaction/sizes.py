"""Rewrites calls that are given the shape of their result."""

from collections.abc import Sequence
from typing import Any

from torch import fx

from hwcomp.compaction.edit import Edit


def reshape(edit: Edit) -> None:
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


def expand(edit: Edit) -> None:
    """Sizes of an expansion, in which -1 leaves an axis as it is."""
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


def unflatten(edit: Edit) -> None:
    """Sizes of the axes that one axis becomes."""
    dim = int(edit.value(1, "dim")) % edit.source.ndim
    count = edit.result.ndim - edit.source.ndim + 1
    sizes = edit.wanted.shape[dim : dim + count]
    if sizes != edit.result.shape[dim : dim + count] or edit.has_other_numbers():
        edit.set_arguments(dim, tuple(sizes))


def layer_norm(edit: Edit) -> None:
    """Sizes of the axes that are normalised."""
    count = len(edit.value(1, "normalized_shape"))
    node = edit.node
    node.kwargs = {key: value for key, value in node.kwargs.items() if key != "normalized_shape"}
    node.args = (node.args[0], tuple(edit.wanted.shape[-count:]), *node.args[2:])
