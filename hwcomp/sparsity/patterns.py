r"""Scores of weights -> which of them are kept.

A weight of shape (C_out, C_in / groups, \*kernel) is one matrix (C_out, C_in / groups) for each position of the kernel:
blocks span output channels (rows) and input channels (columns) at one position. Channels that fill no whole block make
a smaller one.
"""

from fractions import Fraction
from math import floor

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.scheme import Sparse

MIN_KEPT = 16
"""Weights that every layer keeps, whatever the density: 1 % of a depthwise layer of 16 channels would be two."""


def least_kept(weight: Tensor, min_kept: int = MIN_KEPT) -> int:
    """Return how many of a layer's weights (C_out, ...) are always kept: one for each output channel, and a few."""
    return min(max(min_kept, weight.shape[0]), weight.numel())


def size_mask(weight: Tensor, sparse: Sparse) -> Tensor:
    """Return 1 for the largest weights that a pattern keeps and 0 for the others; raises as `pattern_mask` does."""
    return pattern_mask(weight, sparse, least=least_kept(weight))


def pattern_mask(scores: Tensor, sparse: Sparse, *, density: float | None = None, least: int = 0) -> Tensor:
    r"""Return 1 for each weight that is kept and 0 for the others, in the shape and type of the scores.

    Of :math:`n` blocks, :math:`\lfloor (1 - k) n \rfloor` are left out: those with the smallest mean of :math:`|S|`, of
    equal ones the last. In a pattern of N in M, each M consecutive input channels, at one output channel and
    position, lose :math:`\lfloor (1 - k) M \rfloor`; a last group that is not full loses its share.

    Args:
        scores: how much each weight matters, by absolute value, (C_out, C_in / groups, \*kernel).
        sparse: the pattern.
        density: k, in place of that of the pattern, in (0, 1].
        least: weights that must be kept, as far as there are so many; a pattern of N in M does not heed it, for it
            keeps some of every group.

    Raises:
        InputError: the scores have no output and input channels, or the density is out of its range.
    """
    if scores.ndim < 2 or not scores.numel():
        raise InputError(f"A sparse weight has output and input channels; found the shape {tuple(scores.shape)}.")
    wanted = sparse.exact_density if density is None else Fraction(repr(float(_checked(density))))
    matrices = scores.detach().abs().flatten(2) if scores.ndim > 2 else scores.detach().abs().unsqueeze(2)
    if sparse.group is not None:
        kept = _grouped(matrices, sparse.group, 1 - wanted)
    else:
        kept = _blocked(matrices, (sparse.rows, sparse.columns), 1 - wanted, least)
    return kept.view(scores.shape).to(scores.dtype)


def _checked(density: float) -> float:
    if not 0 < density <= 1:
        raise InputError(f"The density of sparse weights is above 0 and at most 1; found {density:g}.")
    return density


def _blocked(scores: Tensor, block: tuple[int, int], left_out: Fraction, least: int) -> Tensor:
    """Return whether each weight is in a block that is kept, (C_out, C_in, positions)."""
    (outputs, inputs, positions), (rows, columns) = scores.shape, block
    padded = F.pad(scores, (0, 0, 0, -inputs % columns, 0, -outputs % rows))
    blocks = padded.reshape(-(-outputs // rows), rows, -(-inputs // columns), columns, positions)
    sizes = _sizes(outputs, rows, scores.device)[:, None, None] * _sizes(inputs, columns, scores.device)[:, None]
    sizes = sizes.expand(-1, -1, positions)
    means = (blocks.sum((1, 3)) / sizes).flatten()
    count = len(means) - floor(left_out * len(means))
    kept = _largest(means, count)
    if least > 0 and int(sizes.reshape(-1)[kept].sum()) < least:
        kept = _until(means, sizes.reshape(-1), least)
    of_blocks = kept.view(sizes.shape)[:, None, :, None, :].expand(blocks.shape)
    return of_blocks.flatten(2, 3).flatten(0, 1)[:outputs, :inputs].contiguous()


def _largest(values: Tensor, count: int) -> Tensor:
    """Return whether each value is among the largest; of equal ones the first. Sorting would take ten times as long."""
    if count >= len(values):
        return torch.ones_like(values, dtype=torch.bool)
    limit = torch.kthvalue(values, len(values) - count + 1).values
    above, equal = values > limit, values == limit
    return above | (equal & (equal.cumsum(0) <= count - above.sum()))


def _until(values: Tensor, sizes: Tensor, least: int) -> Tensor:
    """Return whether each value is among the largest whose blocks have so many weights together."""
    order = torch.argsort(values, descending=True, stable=True)
    kept = torch.empty_like(values, dtype=torch.bool)
    kept[order] = sizes[order].cumsum(0) - sizes[order] < least
    return kept


def _sizes(channels: int, size: int, device: torch.device) -> Tensor:
    """Return how many channels each block has; all but the last are full."""
    starts = torch.arange(0, channels, size, device=device)
    return (channels - starts).clamp(max=size)


def _grouped(scores: Tensor, group: int, left_out: Fraction) -> Tensor:
    """Return whether each weight is among the largest of its group of input channels, (C_out, C_in, positions)."""
    outputs, inputs, positions = scores.shape
    padded = F.pad(scores, (0, 0, 0, -inputs % group), value=-1.0)
    groups = padded.reshape(outputs, -(-inputs // group), group, positions)
    ranks = torch.argsort(groups, dim=2, descending=True, stable=True).argsort(2)
    sizes = [min(group, inputs - start) for start in range(0, inputs, group)]
    counts = torch.tensor([size - floor(left_out * size) for size in sizes], device=scores.device)
    kept = ranks < counts[:, None, None]
    return kept.flatten(1, 2)[:, :inputs].contiguous()
