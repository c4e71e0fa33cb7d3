"""Normalisations that take their statistics over the channels that stay."""

import torch
from torch import Tensor, nn


class MaskedLayerNorm(nn.Module):
    """LayerNorm or RMSNorm over the last axes, without the entries that are masked out.

    Args:
        stays: True for entries that stay, broadcastable to the input.
        axes: how many axes are normalised.
        eps: is added to the variance; None for the smallest step of the input's type.
        centered: False for RMSNorm, which does not subtract the mean.
    """

    stays: Tensor

    def __init__(self, stays: Tensor, axes: int, eps: float | None, *, centered: bool) -> None:
        super().__init__()
        self.register_buffer("stays", stays)
        self.axes = tuple(range(-axes, 0))
        self.eps = eps
        self.centered = centered

    def forward(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Return the normalised input of any shape; zero where it is masked out."""
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        normalized = normalize(x, self.stays.expand(x.shape), self.axes, eps, centered=self.centered)
        normalized = normalized if weight is None else normalized * weight
        normalized = normalized if bias is None else normalized + bias
        return normalized * self.stays


class MaskedGroupNorm(nn.Module):
    """GroupNorm ``(N, C, ...)`` without the channels that are masked out; with groups of one channel, without these.

    Args:
        stays: True for entries that stay, broadcastable to the input.
        groups: how many groups of channels there are.
        eps: is added to the variance.
    """

    stays: Tensor

    def __init__(self, stays: Tensor, groups: int, eps: float) -> None:
        super().__init__()
        self.register_buffer("stays", stays)
        self.groups = groups
        self.eps = eps

    def forward(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Return the normalised input; zero where it is masked out."""
        grouped = (x.shape[0], self.groups, -1)
        stays = self.stays.expand(x.shape)
        normalized = normalize(x.reshape(grouped), stays.reshape(grouped), (-1,), self.eps, centered=True)
        normalized = normalized.reshape(x.shape)
        per_channel = (-1, *(1,) * (x.ndim - 2))
        normalized = normalized if weight is None else normalized * weight.view(per_channel)
        normalized = normalized if bias is None else normalized + bias.view(per_channel)
        return normalized * stays


def normalize(x: Tensor, stays: Tensor, axes: tuple[int, ...], eps: float, *, centered: bool) -> Tensor:
    """Return ``(x - mean) / sqrt(var + eps)`` with mean and variance over the entries that stay."""
    count = stays.sum(axes, keepdim=True).clamp_min(1)
    if centered:
        x = x - (x * stays).sum(axes, keepdim=True) / count
    variance = (x.square() * stays).sum(axes, keepdim=True) / count
    return x * torch.rsqrt(variance + eps)
