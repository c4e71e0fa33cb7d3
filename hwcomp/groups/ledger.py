"""What is known about channels while the graph is walked: which are one, which stay, and why."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from hwcomp.groups.model import Ids, Role
from hwcomp.groups.shadow import compacted, core, numbers


@dataclass(frozen=True, slots=True)
class Constant:
    """Channels that stay unless they turn out to be one along an axis."""

    ids: Tensor
    axis: int
    reason: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """An operand that is broadcast along an axis along which the other one's ids vary."""

    ids: Tensor
    wide: Tensor
    site: str


@dataclass(slots=True)
class Slot:
    """The channel ids of the entries along one axis of a parameter."""

    ids: Ids
    role: Role
    site: str


class Ledger:
    """Ids, their unions, and what keeps them from being removed.

    Unions are only written down here; `classes` finds what follows from them. ``hidden`` are the paths of parameters
    that something uses in a way that was not followed; ``known`` are the values of integer buffers, by node.
    """

    def __init__(self) -> None:
        self.size = 1
        self.slots: dict[tuple[str, int], Slot] = {}
        self.parameters: dict[str, Tensor] = {}
        self.hidden: set[str] = set()
        self.known: dict[str, Tensor] = {}
        self.constants: list[Constant] = []
        self.broadcasts: list[Broadcast] = []
        self.reasons: list[str] = []
        self._pairs: list[Ids] = []
        self._frozen: list[Ids] = []

    def fresh(self, count: int) -> Ids:
        """Return ids that nothing else has."""
        self.size += count
        return np.arange(self.size - count, self.size, dtype=np.int64)

    def slot(self, path: str, axis: int, length: int, role: Role, site: str) -> Ids:
        """Return the ids along an axis of a parameter: the same ones whenever it is used again."""
        known = self.slots.setdefault((path, axis), Slot(np.empty(0, dtype=np.int64), role, site))
        if not len(known.ids):
            known.ids = self.fresh(length)
        if role == "makes" and known.role != "makes":
            known.role, known.site = role, site
        return known.ids

    def bare(self, path: str, shape: tuple[int, ...]) -> Tensor:
        """Return the shadow of a parameter that is used as it is: one id for each element."""
        if path not in self.parameters:
            self.parameters[path] = compacted(torch.from_numpy(self.fresh(math.prod(shape))).view(shape))
        return self.parameters[path]

    def unite(self, left: Ids, right: Ids) -> None:
        """Make ids one, position by position; id 0 takes no part."""
        useful = (left != right) & (left != 0) & (right != 0)
        if useful.any():
            keys = np.unique((left[useful] << 32) | right[useful])
            self._pairs.append(np.stack((keys >> 32, keys & 0xFFFFFFFF)))

    def unite_rows(self, rows: Ids, reason: str) -> None:
        """Make all ids of each row of a matrix one; a row in which something stays, stays."""
        for column in rows.T[1:]:
            self.unite(rows[:, 0], column)
        stuck = (rows == 0).any(axis=1)
        self.freeze(rows[stuck], reason)

    def freeze(self, ids: Ids, reason: str) -> None:
        """Keep channels from being removed."""
        present = np.unique(ids[ids != 0])
        if len(present):
            self._frozen.append(present)
            self.reasons.append(reason)

    def keep_constant(self, ids: Tensor, axes: Sequence[int], reason: str) -> None:
        """Keep channels from being removed unless they are one along these axes."""
        small = core(ids)
        self.constants += [Constant(small, axis, reason) for axis in axes if small.shape[axis] > 1]

    def classes(self) -> "Classes":
        """Return which ids are one channel by now, and which of those stay."""
        pairs = np.concatenate(self._pairs, axis=1) if self._pairs else np.empty((2, 0), dtype=np.int64)
        graph = coo_matrix((np.ones(pairs.shape[1], dtype=np.int8), tuple(pairs)), shape=(self.size, self.size))
        count, labels = connected_components(graph, directed=False)
        reason = np.full(count, len(self.reasons), dtype=np.int64)
        for index, ids in enumerate(self._frozen):
            np.minimum.at(reason, labels[ids], index)
        reason[labels[0]] = -1
        return Classes(labels=labels.astype(np.int64), reason=reason, reasons=tuple(self.reasons))


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """Ids grouped into channels.

    Attributes:
        labels: id -> channel.
        reason: channel -> position in ``reasons``; as many as there are reasons where it may be removed.
        reasons: why channels stay.
    """

    labels: Ids
    reason: Ids
    reasons: tuple[str, ...]

    @property
    def removable(self) -> np.typing.NDArray[np.bool_]:
        """Whether each channel may be removed."""
        removable: np.typing.NDArray[np.bool_] = self.reason == len(self.reasons)
        return removable

    def of(self, ids: Ids | Tensor) -> Ids:
        """Return the channel at each position, -1 where it stays."""
        labels = self.labels[numbers(ids) if isinstance(ids, Tensor) else ids]
        return np.where(self.removable[labels], labels, -1)
