"""Operators that work position by position: their operands' channels are one."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hwcomp.groups.call import Call
from hwcomp.groups.ledger import Broadcast, Ledger
from hwcomp.groups.shadow import blank, broadcast, compacted, core, numbers, together, varied


def elementwise(call: Call) -> Tensor:
    """Tie all operands under broadcasting."""
    result = blank(())
    for operand in call.tensors():
        result = join(call.ledger, result, operand, call.node.name)
    return result.expand(call.result_shape)


def join(ledger: Ledger, left: Tensor, right: Tensor, site: str) -> Tensor:
    """Tie two shadows position by position and return the shadow of the result.

    What meets a fixed value stays, unless that value is broadcast along its channels. Whether an operand that is
    broadcast over the channels of the other is one of them, or belongs to all of them, only all unions tell.
    """
    shape = broadcast(left.shape, right.shape)
    left, right = _aligned(left, len(shape)), _aligned(right, len(shape))
    lost_left, lost_right = _is_lost(left, right), _is_lost(right, left)
    if lost_left != lost_right:
        lost, wide = (left, right) if lost_left else (right, left)
        ledger.broadcasts.append(Broadcast(core(lost), core(wide), site))
        return wide.expand(shape)
    if lost_left and lost_right:
        for operand in (left, right):
            ledger.freeze(
                numbers(core(operand)).reshape(-1), f"{site} combines each of its channels with each of others"
            )
        return blank(shape)
    _meet_fixed(ledger, left, right, site)
    _meet_fixed(ledger, right, left, site)
    left_ids, right_ids = together(left, right)
    ledger.unite(left_ids.reshape(-1), right_ids.reshape(-1))
    return _result(left, right).expand(shape)


def _aligned(ids: Tensor, rank: int) -> Tensor:
    return ids[(None,) * (rank - ids.ndim)]


def _is_lost(ids: Tensor, other: Tensor) -> bool:
    """Return whether channels are broadcast along an axis along which the other operand's channels vary."""
    return bool(core(ids).any()) and any(ids.shape[axis] == 1 for axis in varied(other))


def _meet_fixed(ledger: Ledger, ids: Tensor, other: Tensor, site: str) -> None:
    """Keep channels that meet fixed values along an axis on which they vary."""
    own, others = together(ids, other)
    exposed = torch.from_numpy(np.where(others == 0, own, 0))
    if bool(exposed.any()):
        axes: Sequence[int] = [axis for axis in range(ids.ndim) if other.shape[axis] > 1]
        ledger.keep_constant(exposed, axes, f"{site} combines it with a tensor of fixed width")


def _result(left: Tensor, right: Tensor) -> Tensor:
    """Return the ids of the operand that varies along fewer axes, the other's where it has none."""
    if core(right).numel() < core(left).numel() and bool(core(right).all()):
        left, right = right, left
    if bool(core(left).all()):
        return left if left.numel() >= right.numel() else left.expand(broadcast(left.shape, right.shape))
    left_ids, right_ids = together(left, right)
    mixed = torch.from_numpy(np.where(left_ids == 0, right_ids, left_ids))
    return compacted(mixed.expand(broadcast(left.shape, right.shape)))
