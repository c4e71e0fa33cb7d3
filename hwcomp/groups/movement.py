"""Operators that only move values: the same function moves their channels."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwcomp.errors import UnknownOperatorError
from hwcomp.groups.call import Call, map_tensors
from hwcomp.groups.shadow import compacted, first, spread, together, varied, vector

SEVERAL = ("cat", "concat", "concatenate", "stack", "view_as", "reshape_as")
"""Operators of several tensors; to all others a second one would say where values go."""


def moved(call: Call) -> Any:
    """Apply the operator to the shadow itself."""
    if call.name not in SEVERAL and len(call.tensors()) > 1:
        raise UnknownOperatorError("where values go depends on a tensor")
    return map_tensors(apply(call), compacted)


def apply(call: Call) -> Any:
    """Return what a function, method or module gives for the arguments of a call."""
    args = call.args
    if call.module is not None:
        return call.module(*args, **call.kwargs)
    if call.node.op == "call_method":
        # a shadow is laid out in memory otherwise than its tensor, so a view of it may not exist
        method = {"view": "reshape", "view_as": "reshape_as"}.get(call.name, str(call.node.target))
        return getattr(args[0], method)(*args[1:], **call.kwargs)
    target: Any = call.node.target
    return target(*args, **call.kwargs)


def indexed(call: Call) -> Any:
    """Indexing; a step along the channels would interleave them, and a list of numbers would permute them."""
    source, index = call.args
    if not isinstance(source, Tensor):
        return source[index]
    parts = _known_parts(call, index)
    for axis, part in zip(indexed_axes(parts, source.ndim), parts, strict=True):
        if isinstance(part, (Tensor, list)):
            call.ledger.keep_constant(source, [axis], f"{call.node.name} picks its channels by number")
        elif isinstance(part, slice) and part.step not in (None, 1):
            call.ledger.keep_constant(source, [axis], f"{call.node.name} takes its channels in steps of {part.step}")
    return compacted(source[parts])


def _known_parts(call: Call, index: Any) -> tuple[Any, ...]:
    """Return the parts of an index, integer buffers by their values."""
    given: Any = call.node.args[1]
    nodes = given if isinstance(given, tuple) else (given,)
    parts = list(index if isinstance(index, tuple) else (index,))
    for position, (node, part) in enumerate(zip(nodes, parts, strict=True)):
        if isinstance(part, Tensor):
            known = call.ledger.known.get(node.name)
            if known is None or known.dtype == torch.bool:
                raise UnknownOperatorError("it is indexed by a tensor that is not known")
            parts[position] = known.cpu()
    return tuple(parts)


def indexed_axes(parts: tuple[Any, ...], rank: int) -> list[int]:
    """Return the axis that each part of an index is for; for None and the ellipsis, the one that follows."""
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    axes, axis = [], 0
    for part in parts:
        axes.append(axis)
        axis += rank - taken if part is Ellipsis else int(part is not None)
    return axes


def rolled(call: Call) -> Tensor:
    """A roll along the channels would depend on how many there are."""
    dims = call.option(2, "dims")
    axes = [dims] if isinstance(dims, int) else dims
    axes = range(call.source.ndim) if axes is None else [axis % call.source.ndim for axis in axes]
    call.ledger.keep_constant(call.source, axes, f"{call.node.name} rotates its channels")
    return compacted(torch.as_tensor(apply(call)))


def padded(call: Call) -> Tensor:
    """Padding continues what does not vary; constants beside channels are channels without parameters."""
    ids, amounts = call.source, call.option(1, "pad")
    constant = call.option(2, "mode", "constant") == "constant"
    for position in range(0, len(amounts), 2):
        axis = ids.ndim - 1 - position // 2
        before, after = amounts[position], amounts[position + 1]
        shape = list(ids.shape)
        shape[axis] += before + after
        if axis not in varied(ids):
            ids = ids.narrow(axis, 0, 1).expand(shape)
        elif constant and min(before, after) >= 0:
            ends = [spread(call.ledger.fresh(count), axis, _with(shape, axis, count)) for count in (before, after)]
            ids = compacted(torch.cat((ends[0], ids, ends[1]), axis))
        else:
            raise UnknownOperatorError("it pads or cuts along the channels")
    return ids


def _with(shape: list[int], axis: int, size: int) -> list[int]:
    return [*shape[:axis], size, *shape[axis + 1 :]]


def pixel_shuffled(call: Call) -> Tensor:
    """``(N, C r r, H, W) -> (N, C, H r, W r)``: the ``r r`` channels that make one go together."""
    ids = _channels_only(call)
    shape = call.result_shape
    rows = vector(ids, -3).reshape(shape[-3], -1)
    call.ledger.unite_rows(rows, f"{call.node.name} makes one channel of several, and some of them stay")
    return spread(rows[:, 0].copy(), -3, shape)


def pixel_unshuffled(call: Call) -> Tensor:
    """``(N, C, H r, W r) -> (N, C r r, H, W)``: each channel becomes ``r r`` of them."""
    ids, shape = _channels_only(call), call.result_shape
    return spread(vector(ids, -3).repeat(shape[-3] // ids.shape[-3]), -3, shape)


def channel_shuffled(call: Call) -> Tensor:
    """``(N, g n, H, W)``: entry ``j`` of every group is one channel, so that groups stay of one size."""
    module = call.module
    groups = module.groups if isinstance(module, nn.ChannelShuffle) else int(call.option(1, "groups"))
    grid = vector(_channels_only(call, 1), 1).reshape(groups, -1)
    call.ledger.unite_rows(grid.T, f"{call.node.name} shuffles groups of one size, and some of their channels stay")
    return spread(grid.T.reshape(-1).copy(), 1, call.result_shape)


def _channels_only(call: Call, axis: int = -3) -> Tensor:
    ids = call.source
    others = [other for other in varied(ids) if other != axis % ids.ndim]
    call.ledger.keep_constant(ids, others, f"{call.node.name} works along an axis on which it varies")
    return first(ids, others)


def gated_linear_unit(call: Call) -> Tensor:
    """One half of the channels gates the other."""
    axis = call.module.dim if isinstance(call.module, nn.GLU) else int(call.option(1, "dim", -1))
    left, right = call.source.chunk(2, axis)
    rows = np.stack([ids.reshape(-1) for ids in together(compacted(left), compacted(right))], axis=1)
    call.ledger.unite_rows(rows, f"{call.node.name} gates it by fixed channels")
    return compacted(left)


def resized(call: Call) -> Tensor:
    """Pooling, upsampling and padding modules work on each channel alone, over the axes after it."""
    ids, shape = call.source, call.result_shape
    name = call.name.removesuffix("_with_indices")
    count = int(name[-2]) if name[-1] == "d" and name[-2].isdigit() else ids.ndim - 2
    axes = list(range(ids.ndim - count, ids.ndim))
    call.ledger.keep_constant(ids, axes, f"{call.node.name} works along an axis on which it varies")
    for axis in axes:
        ids = ids.narrow(axis, 0, 1)
    return ids.expand(shape)
