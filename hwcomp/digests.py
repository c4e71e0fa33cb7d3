"""Hashes of tensors and models, to tell whether what was kept goes with them."""

import hashlib
import json
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def tensors_digest(tensors: Iterable[Tensor]) -> str:
    """Return a hash of tensors: shapes, types and values."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(f"{tuple(tensor.shape)} {tensor.dtype};".encode())
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()[:24]


def model_digest(model: nn.Module) -> str:
    """Return a hash of a model: names and values of its parameters and buffers."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return hashlib.sha256((json.dumps(list(named)) + tensors_digest(named.values())).encode()).hexdigest()[:24]
