"""Hashes of models and batches, to tell whether a checkpoint goes with them."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hwcomp.program import flatten


def tensors_digest(tensors: Iterable[Tensor]) -> str:
    """Return a hash of tensors: shapes, types and values."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(f"{tuple(tensor.shape)} {tensor.dtype};".encode())
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()[:24]


def batch_digest(inputs: Any, targets: Any) -> str:
    """Return a hash of a batch."""
    return tensors_digest((*flatten(inputs), *flatten(targets)))


def model_digest(model: nn.Module) -> str:
    """Return a hash of a model: names and values of its parameters and buffers."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return hashlib.sha256((json.dumps(list(named)) + tensors_digest(named.values())).encode()).hexdigest()[:24]
