"""Rounding and masks of weights that gradients pass: as lowering does it, or with steps that are learned.

.. [Baskin2021] C. Baskin et al., "NICE: Noise Injection and Clamping Estimation for Neural Network Quantization",
   Mathematics 2021.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from hwcomp.scheme import WEIGHT_ONLY_BLOCK, Sparse
from hwcomp.sparsity import size_mask
from hwcomp.supernet.quantisers import SMALLEST_STEP, slowed


class LearnedWeightRounding(nn.Module):
    r"""Rounds a weight (C_out, ...) to a few bits, symmetric around zero, with a learned step per row [Esser2020]_.

    Steps start at :math:`2 \mathrm{mean} |w| / \sqrt{q_{max}}`.
    """

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.largest = 2 ** (bits - 1) - 1
        mean = weight.detach().abs().flatten(1).mean(1)
        self.steps = nn.Parameter((2 * mean / math.sqrt(self.largest)).clamp_min(SMALLEST_STEP))

    def forward(self, weight: Tensor, noise: float = 0.0) -> Tensor:
        """Return the rounded weight, in its shape; for the noise, see `round_weight`."""
        factor = 1 / math.sqrt(weight[0].numel() * self.largest)
        steps = slowed(self.steps.abs().clamp_min(SMALLEST_STEP), factor).view(-1, *[1] * (weight.ndim - 1))
        scaled = (weight / steps).clamp(-self.largest, self.largest)
        rounded = scaled + (scaled.round() - scaled).detach()
        if noise > 0:
            rounded = torch.where(torch.rand_like(scaled) < noise, scaled + torch.rand_like(scaled) - 0.5, rounded)
        return rounded * steps


def round_weight(weight: Tensor, bits: int, *, is_blocked: bool = False, noise: float = 0.0) -> Tensor:
    r"""Return a weight rounded as lowering does it; gradients pass as if nothing were rounded.

    The largest weight of a row, or of a block of `hwcomp.scheme.WEIGHT_ONLY_BLOCK` weights of a row, decides its step,
    as in `hwcomp.quantizer`. Rounding so commutes with the factor that BatchNorm gives a row: the values are those of
    the folded weight, times that factor.

    Args:
        weight: (C_out, ...), or (C_out, C_in) with blocks.
        bits: of each weight, symmetric around zero.
        is_blocked: whether each block has a step, not each row.
        noise: share of the weights, drawn anew, that get uniform noise of up to half a step instead [Baskin2021]_.
    """
    rows = _blocks(weight) if is_blocked else weight.flatten(1)
    largest = 2 ** (bits - 1) - 1
    steps = rows.detach().abs().amax(1).clamp_min(SMALLEST_STEP) / largest
    scaled = rows.detach() / steps[:, None]
    rounded = scaled.round()
    if noise > 0:
        rounded = torch.where(torch.rand_like(scaled) < noise, scaled + torch.rand_like(scaled) - 0.5, rounded)
    result: Tensor = rows + (rounded * steps[:, None] - rows.detach())
    if is_blocked:
        return result.view(len(weight), -1)[:, : weight.shape[1]]
    return result.view_as(weight)


def mask_weight(weight: Tensor, sparse: Sparse, whole: Tensor) -> Tensor:
    r"""Return a weight of which a pattern leaves out the smallest; gradients pass as if nothing were left out.

    .. math:: \hat w = w \odot M(|w_{whole}|), \quad \frac{\partial \hat w}{\partial w} := 1

    So a weight that is left out learns as if it were there, and comes back once it is larger than others.

    Args:
        weight: (C_out, ...).
        sparse: the pattern and its density.
        whole: the weight before widths took columns away, which must not make the rest denser.
    """
    return weight + (weight * size_mask(whole, sparse) - weight).detach()


def _blocks(weight: Tensor) -> Tensor:
    missing = -weight.shape[1] % WEIGHT_ONLY_BLOCK
    return F.pad(weight, (0, missing)).reshape(-1, WEIGHT_ONLY_BLOCK)
