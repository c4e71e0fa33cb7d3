"""What splitting a layer's filters and merging them share: which nodes belong together, names, rows of modules."""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from hwcomp.ops import ACTIVATIONS, module_of, op_of, shape_of
from hwcomp.passes._edit import only_user

Chain = tuple[fx.Node, ...]
"""A layer, the BatchNorm that alone reads it, and the ReLU or ReLU6 that alone reads those; the last two if there."""

LAYERS = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)
SIZES = ("out_channels", "out_features", "num_features")
"""What layers and BatchNorms call the number of their filters or channels."""

PART = re.compile(r"(.+)_part\d+")


def part_name(name: str, index: int) -> str:
    """Return the name of a part, of a node or of a module's path."""
    return f"{name}_part{index}"


def whole_name(name: str) -> str | None:
    """Return the name of what a part was split from, or None for what is no part."""
    match = PART.fullmatch(name)
    return match[1] if match else None


def has_filters(node: fx.Node) -> bool:
    """Return whether a node calls a layer or a BatchNorm, which have rows for each filter."""
    return isinstance(module_of(node), (*LAYERS, *NORMS))


def chain_of(layer: fx.Node) -> Chain:
    """Return a layer with what can be computed for some of its filters alone, and fused with them."""
    chain: Chain = (layer,)
    follower = only_user(layer)
    if follower is not None and _normalises(follower, layer):
        chain, follower = (layer, follower), only_user(follower)
    return (*chain, follower) if follower is not None and _is_activation(follower) else chain


def _normalises(node: fx.Node, layer: fx.Node) -> bool:
    if isinstance(module_of(layer), nn.Conv2d):
        return isinstance(module_of(node), nn.BatchNorm2d)
    return isinstance(module_of(node), nn.BatchNorm1d) and len(shape_of(layer) or ()) == 2


def _is_activation(node: fx.Node) -> bool:
    module = module_of(node)
    if isinstance(module, nn.Hardtanh):
        return (module.min_val, module.max_val) == (0, 6)
    return isinstance(module, nn.ReLU) if module is not None else op_of(node) in ACTIVATIONS


def channel_axis(layer: fx.Node) -> int:
    """Return the axis of a layer's output along which its filters lie."""
    rank = len(shape_of(layer) or ())
    return rank - 3 if isinstance(module_of(layer), nn.Conv2d) else rank - 1


def filters_in(module: nn.Module) -> int:
    """Return how many filters a layer has, or channels a BatchNorm."""
    return next(int(getattr(module, name)) for name in SIZES if hasattr(module, name))


def sliced(module: nn.Module, start: int, stop: int) -> nn.Module:
    """Return a layer or BatchNorm with some of the filters of another."""
    rows = {name: tensor.detach()[start:stop].clone() for name, tensor in _rows(module).items()}
    return _with_rows(module, rows, stop - start)


def joined(modules: Sequence[nn.Module]) -> nn.Module:
    """Return a layer or BatchNorm with the filters of several that are `alike`, one after the other."""
    parts = [_rows(module) for module in modules]
    rows = {name: torch.cat([part[name].detach() for part in parts]) for name in parts[0]}
    return _with_rows(modules[0], rows, sum(filters_in(module) for module in modules))


def alike(one: nn.Module | None, other: nn.Module | None) -> bool:
    """Return whether two modules differ in nothing but their filters."""
    return _settings(one) == _settings(other)


def _rows(module: nn.Module) -> dict[str, Tensor]:
    """Return what has an entry for each filter along its first axis."""
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return {name: tensor for name, tensor in tensors if tensor.ndim}


def _with_rows(module: nn.Module, rows: Mapping[str, Tensor], count: int) -> nn.Module:
    """Return a copy of a module with other rows; all that is set on it stays, also what is not trained."""
    memo: dict[int, Any] = {}
    for name, tensor in _rows(module).items():
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(rows[name], tensor.requires_grad) if is_parameter else rows[name]
    result = copy.deepcopy(module, memo)
    for name in SIZES:
        if hasattr(result, name):
            setattr(result, name, count)
    return result


def _settings(module: nn.Module | None) -> object:
    if module is None:
        return None
    options = {name: value for name, value in vars(module).items() if name[0] != "_" and name not in SIZES}
    tensors = {name: (row.shape[1:], row.dtype, row.device, row.requires_grad) for name, row in _rows(module).items()}
    return type(module), options, tensors
