"""Shadows: tensors of channel ids that go through the graph in place of the values.

A shadow has the shape of its tensor and is an expanded view (stride 0) along every axis on which it does not vary, so
that a feature map of any size costs as much as its channels. Id 0 means "no channel that could be removed".
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hwcomp.groups.model import Ids


def blank(shape: Sequence[int]) -> Tensor:
    """Return the shadow of a tensor without removable channels."""
    return torch.zeros((1,) * len(shape), dtype=torch.int64).expand(tuple(shape))


def core(ids: Tensor) -> Tensor:
    """Return a shadow with one entry along every axis on which it does not vary."""
    for axis in range(ids.ndim):
        if ids.stride(axis) == 0 and ids.shape[axis] > 1:
            ids = ids.narrow(axis, 0, 1)
    return ids


def compacted(ids: Tensor) -> Tensor:
    """Return the same shadow, expanded along every axis on which it does not vary."""
    small = core(ids)
    for axis in range(ids.ndim):
        first = small.narrow(axis, 0, 1) if small.shape[axis] > 1 else small
        if first is not small and bool((small == first).all()):
            small = first
    return small.contiguous().expand(ids.shape)


def varied(ids: Tensor) -> list[int]:
    """Return the axes along which a compacted shadow varies."""
    return [axis for axis in range(ids.ndim) if ids.shape[axis] > 1 and ids.stride(axis) != 0]


def first(ids: Tensor, axes: Sequence[int]) -> Tensor:
    """Return the shadow of the same shape that everywhere along some axes holds what stands first there."""
    small = ids
    for axis in axes:
        if small.shape[axis] > 1:
            small = small.narrow(axis, 0, 1)
    return small.expand(ids.shape)


def vector(ids: Tensor, axis: int) -> Ids:
    """Return the ids along one axis, first ones along all others."""
    for other in range(ids.ndim):
        if other != axis % ids.ndim:
            ids = ids.narrow(other, 0, 1)
    return numbers(ids.reshape(-1))


def spread(ids: Ids, axis: int, shape: Sequence[int]) -> Tensor:
    """Return the shadow of a shape that holds these ids along one axis."""
    view = [1] * len(shape)
    view[axis] = len(ids)
    return compacted(torch.from_numpy(ids).view(view).expand(tuple(shape)))


def numbers(ids: Tensor) -> Ids:
    """Return ids as an array."""
    array: Ids = np.ascontiguousarray(ids.numpy())
    return array


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that shapes are broadcast to."""
    return tuple(np.broadcast_shapes(*(tuple(shape) for shape in shapes)))


def together(left: Tensor, right: Tensor) -> tuple[Ids, Ids]:
    """Return the ids of two shadows that are combined position by position, without axes on which neither varies."""
    one, other = np.broadcast_arrays(core(left).numpy(), core(right).numpy())
    return np.ascontiguousarray(one), np.ascontiguousarray(other)
