"""Layers with parameters: what makes channels, what reads them, what scales them."""

from typing import Any

import numpy as np
from torch import Tensor, nn

from hwcomp.errors import UnknownOperatorError
from hwcomp.groups.call import Call
from hwcomp.groups.elementwise import join
from hwcomp.groups.model import Ids
from hwcomp.groups.shadow import spread, varied, vector

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def is_depthwise(module: nn.Module) -> bool:
    """Return whether every input channel of a convolution is filtered alone."""
    return 1 < getattr(module, "groups", 1) == getattr(module, "in_channels", 0)


def convolution(call: Call) -> Tensor:
    """A convolution reads columns and makes rows.

    Of a grouped one, entry ``j`` of every group is one channel, on either side. Of a depthwise one, the rows
    ``j * m ... j * m + m - 1`` are the input channel ``j`` again.
    """
    module: Any = call.module
    axis = -1 - len(module.kernel_size)
    read = _read_vector(call, axis)
    weight, groups = module.weight, module.groups
    if is_depthwise(module):
        made = _slot(call, weight, 0, "makes")
        _pass_through(call, made, np.repeat(read, len(made) // groups))
    else:
        columns = _tied_across(call, read, groups)
        _reads(call, weight, 1, columns)
        made = _slot(call, weight, 0, "makes")
        _tied_across(call, made, groups)
    _bias(call, made)
    return spread(made, axis, call.result_shape)


def transposed_convolution(call: Call) -> Tensor:
    """A transposed convolution reads rows and makes columns; every group makes the same columns."""
    module: Any = call.module
    axis = -1 - len(module.kernel_size)
    read = _read_vector(call, axis)
    weight, groups = module.weight, module.groups
    if is_depthwise(module):
        rows = _slot(call, weight, 0, "makes")
        _pass_through(call, rows, read)
        made = np.repeat(rows, weight.shape[1])
    else:
        _tied_across(call, read, groups)
        _reads(call, weight, 0, read)
        made = np.tile(_slot(call, weight, 1, "makes"), groups)
    _bias(call, made)
    return spread(made, axis, call.result_shape)


def linear(call: Call) -> Tensor:
    """A linear layer reads columns and makes rows; one that mixes tokens leaves the channels beside them alone."""
    module: Any = call.module
    axes = varied(call.source)
    last = call.source.ndim - 1
    if axes and last not in axes:
        made = _slot(call, module.weight, 0, "makes")
        call.ledger.freeze(made, f"{call.node.name} mixes positions, not channels")
        _bias(call, made)
        return call.source.narrow(last, 0, 1).expand(call.result_shape)
    _reads(call, module.weight, 1, _read_vector(call, -1))
    made = _slot(call, module.weight, 0, "makes")
    _bias(call, made)
    return spread(made, -1, call.result_shape)


def embedding(call: Call) -> Tensor:
    """An embedding makes columns; its rows are the words, which stay."""
    module: Any = call.module
    call.ledger.freeze(_slot(call, module.weight, 0, "reads"), "words stay")
    return spread(_slot(call, module.weight, 1, "makes"), -1, call.result_shape)


def channel_norm(call: Call) -> Tensor:
    """BatchNorm, InstanceNorm and PReLU work on each channel of axis 1 alone."""
    module: Any = call.module
    axis = call.source.ndim - len(_spatial(module)) - 1 if _spatial(module) else min(1, call.source.ndim - 1)
    read = _read_vector(call, axis)
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = getattr(module, name, None)
        if isinstance(tensor, Tensor) and len(tensor) == len(read):
            _pass_through(call, _slot(call, tensor, 0, "scales"), read)
    return spread(read, axis, call.result_shape)


def _spatial(module: nn.Module) -> range:
    """Return the spatial axes of an InstanceNorm, which also takes inputs without a batch."""
    name = type(module).__name__
    return range(int(name[-2])) if name.startswith("InstanceNorm") else range(0)


def group_norm(call: Call) -> Tensor:
    """GroupNorm takes statistics over groups of neighbours: channel ``k`` of every group is one."""
    module: Any = call.module
    read = _read_vector(call, 1)
    groups = module.num_groups
    if groups < len(read):
        _tied_across(call, read, groups)
    for tensor in (module.weight, module.bias):
        if tensor is not None:
            _pass_through(call, _slot(call, tensor, 0, "scales"), read)
    return spread(read, 1, call.result_shape)


def layer_norm(call: Call) -> Tensor:
    """LayerNorm and RMSNorm: statistics are taken over the channels that are left."""
    module: Any = call.module
    result = call.source
    for tensor in (module.weight, getattr(module, "bias", None)):
        if tensor is not None:
            result = join(call.ledger, result, parameter(call, tensor), call.node.name)
    return result


def functional_layer_norm(call: Call) -> Tensor:
    """The same as a function, with shadows of its parameters."""
    result = call.source
    for tensor in (call.option(2, "weight"), call.option(3, "bias")):
        if tensor is not None:
            result = join(call.ledger, result, tensor, call.node.name)
    return result


def parameter(call: Call, tensor: Tensor) -> Tensor:
    """Return the shadow of a parameter that is used position by position."""
    path = call.path(tensor)
    if tensor.ndim == 1:
        return spread(call.ledger.slot(path, 0, len(tensor), "scales", call.node.name), 0, tensor.shape)
    return call.ledger.bare(path, tuple(tensor.shape))


def _slot(call: Call, tensor: Tensor, axis: int, role: Any) -> Ids:
    return call.ledger.slot(call.path(tensor), axis, tensor.shape[axis], role, call.node.name)


def _read_vector(call: Call, axis: int) -> Ids:
    """Return the ids along the channel axis of the input; what varies along other axes stays."""
    ids = call.source
    if ids.ndim < abs(axis):
        raise UnknownOperatorError("its input has too few axes")
    others = [other for other in varied(ids) if other != axis % ids.ndim]
    call.ledger.keep_constant(ids, others, f"{call.node.name} works along an axis on which it varies")
    return vector(ids, axis)


def _reads(call: Call, weight: Tensor, axis: int, read: Ids) -> None:
    """Tie the entries of a consumer's weight to what they read."""
    entries = _slot(call, weight, axis, "reads")
    call.ledger.unite(entries, read)
    call.ledger.freeze(entries[read == 0], f"{call.node.name} reads fixed channels with the same weights")


def _pass_through(call: Call, entries: Ids, read: Ids) -> None:
    """Tie the entries of a parameter that works on each channel alone to the channels."""
    call.ledger.unite(entries, read)
    call.ledger.freeze(entries[read == 0], f"{call.node.name} works on fixed channels")


def _tied_across(call: Call, ids: Ids, groups: int) -> Ids:
    """Tie entry ``j`` of every group and return those of the first."""
    grid = ids.reshape(groups, -1)
    call.ledger.unite_rows(grid.T, f"{call.node.name} has groups of one size, and some of its channels stay")
    first: Ids = grid[0]
    return first


def _bias(call: Call, made: Ids) -> None:
    bias = getattr(call.module, "bias", None)
    if isinstance(bias, Tensor):
        call.ledger.unite(_slot(call, bias, 0, "makes"), made)
