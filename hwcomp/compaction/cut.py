"""Cuts channels out of shadows and parameters."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwcomp.compaction.kept import Gone
from hwcomp.groups.call import map_tensors
from hwcomp.groups.model import Groups
from hwcomp.groups.shadow import compacted, core, numbers


def cut_values(value: Any, gone: Gone) -> Any:
    """Return shadows, perhaps nested, without removed channels."""
    return map_tensors(value, lambda ids: _cut_shadow(ids, gone))


def _cut_shadow(ids: Tensor, gone: Gone) -> Tensor:
    small = core(ids)
    removed = gone[numbers(small)]
    if not removed.any():
        return ids
    axis = axis_of(removed)
    stays = torch.from_numpy(np.flatnonzero(~_along(removed, axis)))
    shape = list(ids.shape)
    shape[axis] = len(stays)
    return compacted(small.index_select(axis, stays).expand(shape))


def axis_of(removed: Gone) -> int:
    """Return the axis along which removed channels lie."""
    axes = [axis for axis in range(removed.ndim) if (removed != removed.take([0], axis)).any()]
    assert len(axes) == 1, "a group keeps one channel, and tensors stay rectangular"
    return axes[0]


def _along(removed: Gone, axis: int) -> Gone:
    """Return whether each entry along an axis is removed."""
    along: Gone = np.moveaxis(removed, axis, 0).reshape(removed.shape[axis], -1)[:, 0]
    return along


def kept_entries(groups: Groups, gone: Gone) -> dict[str, list[tuple[int, Tensor]]]:
    """Return for each parameter that gets smaller the axes and the entries that stay along each."""
    kept: dict[str, list[tuple[int, Tensor]]] = {}
    for (path, axis), ids in groups.axes.items():
        removed = gone[ids]
        if removed.any():
            kept.setdefault(path, []).append((axis, torch.from_numpy(np.flatnonzero(~removed))))
    return kept
