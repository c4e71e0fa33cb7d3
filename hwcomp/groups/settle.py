"""Finds which ids are one channel: the unions, and what they must become so that every tensor stays rectangular."""

from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from hwcomp.groups.call import tensors_in
from hwcomp.groups.ledger import Classes, Ledger
from hwcomp.groups.model import Ids
from hwcomp.groups.shadow import core, numbers, together, varied


def settle(ledger: Ledger, values: dict[str, Any]) -> Classes:
    """Return the channels that may be removed in any combination.

    A tensor whose channels vary along one axis stays rectangular whatever is removed. Where they vary along several,
    they are tied along all but the one that leaves most channels.
    """
    grids = [(name, core(ids)) for name, value in values.items() for ids in tensors_in(value) if len(varied(ids)) > 1]
    grids += [(path, core(ids)) for path, ids in ledger.parameters.items() if len(varied(ids)) > 1]
    _decide_broadcasts(ledger)
    while True:
        classes = ledger.classes()
        changed = _check_constants(ledger, classes)
        for name, grid in grids:
            changed |= _straighten(ledger, classes.of(grid), grid, name)
        if not changed:
            return classes


def _decide_broadcasts(ledger: Ledger) -> None:
    """Tie what is broadcast to the channels that it meets, or keep it where it meets several as one.

    The weight of a LayerNorm meets every token: it is tied to the same channel of each. The weight of a norm of
    queries meets every head: where heads are channels, it belongs to all of them and stays.
    """
    classes = ledger.classes()
    for met in ledger.broadcasts:
        ids, others = together(met.ids, met.wide)
        channels = classes.of(others)
        own = [axis for axis in range(ids.ndim) if met.ids.shape[axis] > 1]
        if any((channels != channels.take([0], axis)).any() for axis in own):
            ledger.unite(ids.reshape(-1), others.reshape(-1))
            ledger.freeze(ids[others == 0], f"{met.site} combines it with a tensor of fixed width")
        else:
            ledger.freeze(ids.reshape(-1), f"{met.site} broadcasts it over other channels")


def _check_constants(ledger: Ledger, classes: Classes) -> bool:
    """Freeze what has to be one channel along an axis and is not; return whether there was any."""
    changed = False
    for constant in ledger.constants:
        channels = classes.of(constant.ids)
        if (channels != channels.take([0], constant.axis)).any():
            ledger.freeze(numbers(constant.ids)[channels >= 0], constant.reason)
            changed = True
    return changed


def _straighten(ledger: Ledger, channels: Ids, ids: Tensor, name: str) -> bool:
    """Tie channels so that they vary along one axis only; return whether that was needed."""
    axes = [axis for axis in range(channels.ndim) if (channels != channels.take([0], axis)).any()]
    if len(axes) < 2:
        return False
    best = max(axes, key=lambda axis: _count_if_kept(channels, axis))
    rows = np.moveaxis(numbers(ids), best, 0).reshape(ids.shape[best], -1)
    stays = np.moveaxis(channels, best, 0).reshape(rows.shape) < 0
    ledger.unite_rows(np.where(stays, 0, rows), f"a part of what {name} holds beside it stays")
    return True


def _count_if_kept(channels: Ids, axis: int) -> int:
    """Return how many channels are left when all along the other axes are tied."""
    rows = np.moveaxis(channels, axis, 0).reshape(channels.shape[axis], -1)
    count = len(rows)
    names, columns = np.unique(rows, return_inverse=True)
    edges = (np.repeat(np.arange(count), rows.shape[1]), columns.reshape(-1) + count)
    size = count + len(names)
    graph = coo_matrix((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(size, size))
    labels = connected_components(graph, directed=False)[1]
    stays = set(labels[count:][names < 0].tolist())
    return len(set(labels[:count].tolist()) - stays)
