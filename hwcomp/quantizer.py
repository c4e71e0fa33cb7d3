r"""Integer number formats: parameters of activations and weights, and the rounding they cause.

.. math:: q = \mathrm{clip}(\mathrm{round}(x / s) + z, q_{min}, q_{max}), \quad \hat x = s (q - z)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hwcomp.scheme import WEIGHT_ONLY_BLOCK

HALF = "float16"
LIMITS = {"uint8": (0, 255), "int8": (-128, 127), "int8_symmetric": (-128, 127), HALF: (-32768, 32767)}
"""Format of activations -> smallest and largest integer; in training, integers of 16 bits stand for halves."""

SYMMETRIC = frozenset({"int8_symmetric", HALF})
"""Formats in which 0 stands for 0, as TensorRT wants it of integers; their products are added to float biases."""

SMALLEST_RANGE = 1e-9
"""A tensor whose values span less is taken for zero."""

HARD_KNEE = 3.0
"""Hard-swish and hard-sigmoid are constant below -3 and linear or constant above 3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantParams:
    """One scale and zero point for a whole tensor.

    Attributes:
        scale: s, in units of the tensor.
        zero_point: z, the integer that stands for 0.
        dtype: name of the format, see `LIMITS`.
    """

    scale: float
    zero_point: int
    dtype: str


def activation_params(low: float, high: float, dtype: str) -> QuantParams:
    """Return the parameters that cover [low, high] and represent 0 exactly; a tensor that is always 0 gets [0, 1]."""
    low, high = min(low, 0.0), max(high, 0.0)
    high = high if high - low > SMALLEST_RANGE else low + 1.0
    smallest, largest = LIMITS[dtype]
    if dtype in SYMMETRIC:
        return QuantParams(scale=max(-low, high) / largest, zero_point=0, dtype=dtype)
    scale = (high - low) / (largest - smallest)
    zero_point = smallest + round(-low / scale)
    return QuantParams(scale=scale, zero_point=max(smallest, min(largest, zero_point)), dtype=dtype)


def hard_knee_params(high: float, dtype: str) -> QuantParams:
    """Return parameters for the input of a hard-swish or hard-sigmoid, in [-3, high].

    The smallest integer stands for exactly -3, where both functions reach 0, and 3 is a whole number of steps away from
    0; so the same integers, read with scale s / 6 and the smallest integer as zero point, are (x + 3) / 6.
    """
    smallest, largest = LIMITS[dtype]
    scale = (max(high, HARD_KNEE) + HARD_KNEE) / (largest - smallest)
    steps = int(HARD_KNEE / scale)
    return QuantParams(scale=HARD_KNEE / steps, zero_point=smallest + steps, dtype=dtype)


def fake_quantize(x: Tensor, params: QuantParams) -> Tensor:
    """Return x after rounding to the format and back, any shape."""
    if params.dtype == HALF:
        return x.half().to(x.dtype)
    low, high = LIMITS[params.dtype]
    return torch.fake_quantize_per_tensor_affine(x, params.scale, params.zero_point, low, high)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantWeight:
    """A weight as integers, or in halves.

    Attributes:
        values: integers around zero (int8) or halves, in the shape of the float weight, output channels first
            (C_out, ...).
        scales: (C_out,), or (C_out, blocks of `hwcomp.scheme.WEIGHT_ONLY_BLOCK` inputs) for weight-only schemes.
        bits: of each integer.
        bias: corrected float bias (C_out,), or None.
    """

    values: Tensor
    scales: Tensor
    bits: int
    bias: Tensor | None

    @property
    def dequantized(self) -> Tensor:
        """The float weight that the integers stand for."""
        if self.scales.ndim == 1:
            return self.values.float() * self.scales.view(-1, *[1] * (self.values.ndim - 1))
        repeated = self.scales.repeat_interleave(WEIGHT_ONLY_BLOCK, dim=1)[:, : self.values.shape[1]]
        return self.values * repeated


def quantize_per_channel(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return integers (C_out, ...) and scales (C_out,) of a weight, symmetric around zero."""
    largest = 2 ** (bits - 1) - 1
    flat = weight.detach().flatten(1)
    scales = flat.abs().amax(1).clamp_min(1e-12) / largest
    values = (flat / scales[:, None]).round().clamp(-largest, largest)
    return values.to(torch.int8).view_as(weight), scales


def quantize_blocks(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return integers (C_out, C_in) and scales (C_out, ceil(C_in / `WEIGHT_ONLY_BLOCK`)), one for each block."""
    block = WEIGHT_ONLY_BLOCK
    out_features, in_features = weight.shape
    largest = 2 ** (bits - 1) - 1
    blocks = -(-in_features // block)
    padded = torch.zeros(out_features, blocks * block)
    padded[:, :in_features] = weight.detach()
    grouped = padded.view(out_features, blocks, block)
    scales = grouped.abs().amax(2).clamp_min(1e-12) / largest
    values = (grouped / scales[..., None]).round().clamp(-largest, largest)
    return values.view(out_features, -1)[:, :in_features].to(torch.int8), scales


def bias_correction(weight: Tensor, rounded: Tensor, input_mean: Tensor) -> Tensor:
    r"""Return what rounding a weight takes from the mean of each output channel, to be added to the bias.

    .. math:: \Delta b_o = \sum_{i,k} (W_{oik} - \hat W_{oik}) \, E[x_i]

    Args:
        weight: (C_out, C_in / groups, ...).
        rounded: the same after rounding.
        input_mean: (C_in,).

    Source: eq. 9 of [Nagel2019]_, Data-free quantization through weight equalization and bias correction.
    """
    lost = (weight - rounded).detach().flatten(2).sum(2) if weight.ndim > 2 else (weight - rounded).detach()
    out_channels, per_group = lost.shape
    groups = input_mean.numel() // per_group
    means = input_mean.view(groups, 1, per_group).expand(groups, out_channels // groups, per_group)
    return (lost * means.reshape(out_channels, per_group)).sum(1)
