"""Cuts channels out of shadows and parameters."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwcomp.compaction.kept import Gone
from hwcomp.errors import PassError
from hwcomp.groups.call import map_tensors
from hwcomp.groups.model import Groups
from hwcomp.groups.shadow import compacted, core, numbers


def cut_values(value: Any, gone: Gone) -> Any:
    """Return shadows, perhaps nested, without removed channels."""
    return map_tensors(value, lambda ids: _cut_shadow(ids, gone))


def _cut_shadow(ids: Tensor, gone: Gone) -> Tensor:
    if not gone[numbers(core(ids))].any():
        return ids
    for axis in range(ids.ndim):
        removed = removed_along(ids, axis, gone)
        if removed.any():
            stays = torch.from_numpy(np.flatnonzero(~removed))
            shape = [*ids.shape[:axis], len(stays), *ids.shape[axis + 1 :]]
            return compacted(core(ids).index_select(axis, stays).expand(shape))
    raise PassError("A tensor would lose a part that is no slice of it; please report this network.")


def removed_along(ids: Tensor, axis: int, gone: Gone) -> Gone:
    """Return for each entry along an axis of a shadow whether all that it holds is removed."""
    small = core(ids)
    removed = np.moveaxis(gone[numbers(small)], axis, 0).reshape(small.shape[axis], -1).all(axis=1)
    return np.broadcast_to(removed, (ids.shape[axis],))


def kept_entries(groups: Groups, gone: Gone) -> dict[str, list[tuple[int, Tensor]]]:
    """Return for each parameter that gets smaller the axes and the entries that stay along each."""
    kept: dict[str, list[tuple[int, Tensor]]] = {}
    for (path, axis), ids in groups.axes.items():
        removed = gone[ids]
        if removed.any():
            kept.setdefault(path, []).append((axis, torch.from_numpy(np.flatnonzero(~removed))))
    return kept
