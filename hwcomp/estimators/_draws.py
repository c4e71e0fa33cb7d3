"""Random choices of one candidate, or a few, per site."""

import torch
from torch import Tensor

from hwcomp.estimators._interface import Draw, Logits


def drawn(logits: Tensor, draw: Draw, count: int, *, again: bool) -> Tensor:
    """Return the indices of ``count`` candidates drawn by their probabilities, (count,), with repetition or without."""
    probabilities = logits.detach().softmax(0).to(draw.generator.device)
    indices = torch.multinomial(probabilities, count, replacement=again, generator=draw.generator)
    return indices.to(logits.device)


def one_hot(logits: Tensor, index: Tensor) -> Tensor:
    """Return (K,) with 1 at an index, in the type of the logits."""
    return torch.zeros_like(logits).scatter(0, index.reshape(1), 1.0)


def one_path(logits: Logits, draw: Draw) -> dict[str, Tensor]:
    """Return one drawn candidate per site as coefficients that have no gradient, site -> (K,)."""
    return {site: one_hot(tensor.detach(), drawn(tensor, draw, 1, again=True)) for site, tensor in logits.items()}
