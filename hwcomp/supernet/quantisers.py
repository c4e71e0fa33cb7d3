r"""Rounding of tensors that gradients pass, with a step that is learned.

A tensor is rounded to :math:`\hat x = s (\mathrm{clip}(\mathrm{round}(x / s) + z, q_{min}, q_{max}) - z)`. Its step
:math:`s` is learned with the gradient of [Esser2020]_, its zero point :math:`z` stays:

.. math:: \frac{\partial \hat x}{\partial s} = \frac{\hat x - m x}{s}, \quad \frac{\partial \hat x}{\partial x} = m,

where :math:`m` is 1 inside the range and 0 where x is clipped.

.. [Esser2020] S. K. Esser et al., "Learned Step Size Quantization", ICLR 2020.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from hwcomp.quantizer import LIMITS, QuantParams

SMALLEST_STEP = 1e-12
"""As in `hwcomp.quantizer`: a channel of weights that are all zero has a step all the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a tensor was rounded, so that whoever needs it in backward can make it again instead of keeping it.

    Attributes:
        x: before rounding, any shape.
        step: s, ().
        share: p, (), or None for 1.
        limits: smallest and largest integer, counted from the zero point.
    """

    x: Tensor
    step: Tensor
    share: Tensor | None
    limits: tuple[int, int]

    def rounded(self) -> Tensor:
        """Return the rounded tensor."""
        y = _to_grid(self.x / self.step, self.step, self.limits)
        return y if self.share is None else y.lerp_(self.x, 1 - self.share)


def _to_grid(scaled: Tensor, step: Tensor, limits: tuple[int, int]) -> Tensor:
    """Round x / s to the grid, in place.

    Made of plain operators, which are vectorised; PyTorch's own fake quantisation is not, and takes as long as a
    convolution.
    """
    return scaled.round_().clamp_(*limits).mul_(step)


class _MixedRounding(torch.autograd.Function):
    r"""Compute :math:`y = (1 - p) x + p \hat x`; backward needs x alone.

    With :math:`g` the gradient of y, that of x is :math:`g_x = (1 - p) g + p m g`, that of the step
    :math:`p (\langle g, \hat x \rangle - \langle m g, x \rangle) / s`, and that of the share
    :math:`\langle g, \hat x \rangle - \langle g, x \rangle`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, share: Tensor | None, limits: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, step, share)
        ctx.limits = limits
        return Recipe(x=x, step=step, share=share, limits=limits).rounded()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, step, share = ctx.saved_tensors
        (low, high), (_, needs_step, needs_share, _) = ctx.limits, ctx.needs_input_grad
        scaled = x / step
        inside = torch.ops.aten.hardtanh_backward(g, scaled, low - 0.5, high + 0.5)
        g_step = g_share = None
        if needs_step or needs_share:
            with_rounded = _dot(g, _to_grid(scaled, step, ctx.limits))
            g_step = (with_rounded - _dot(inside, x)) / step * (1 if share is None else share)
            g_share = None if share is None else with_rounded - _dot(g, x)
        g_x = inside if share is None else inside.lerp_(g, 1 - share)
        return g_x, g_step, g_share, None


def frugal(inputs: Sequence[Tensor]) -> AbstractContextManager[object]:
    """Return a context in which what is called keeps none of its rounded inputs for backward: they are made again."""
    recipes = {x.data_ptr(): recipe for x in inputs if (recipe := getattr(x, "recipe", None)) is not None}
    if not recipes or not torch.is_grad_enabled():
        return nullcontext()
    return saved_tensors_hooks(
        lambda saved: recipes.get(saved.data_ptr(), saved),
        lambda kept: kept.rounded() if isinstance(kept, Recipe) else kept,
    )


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Return the sum of products of two tensors of one shape, in one pass where both lie in memory alike."""
    if left.ndim == 4 and not left.is_contiguous():
        left, right = left.permute(0, 2, 3, 1), right.permute(0, 2, 3, 1)
    return torch.dot(left.reshape(-1), right.reshape(-1))


class ActivationRounding(nn.Module):
    r"""Rounds a tensor with a learned step, whose gradient is scaled by :math:`1 / \sqrt{N (q_{max} - q_{min})}`.

    N is the number of values for one sample.

    Args:
        params: where the step starts, and the zero point.
        bits: 8, or what the range of the parameters is divided into instead.
        learned: whether the step is trained; it may not where the runtime relies on it.
    """

    def __init__(self, params: QuantParams, bits: int = 8, *, learned: bool = True) -> None:
        super().__init__()
        low, high = LIMITS[params.dtype]
        share = (2**bits - 1) / (high - low)
        below = round((params.zero_point - low) * share)
        self.zero_point, self.dtype = params.zero_point, params.dtype
        self.limits = (-below, 2**bits - 1 - below)
        self.step = nn.Parameter(torch.tensor(params.scale / share), requires_grad=learned)

    @property
    def positive_step(self) -> Tensor:
        """The step as it is used, ()."""
        return self.step.abs().clamp_min(SMALLEST_STEP)

    @property
    def params(self) -> QuantParams:
        """The parameters as lowering takes them, of 8 bits."""
        return QuantParams(scale=float(self.positive_step.detach()), zero_point=self.zero_point, dtype=self.dtype)

    def forward(self, x: Tensor, share: Tensor | None = None) -> Tensor:
        """Return x of any shape rounded, or ``(1 - share) x + share x_rounded`` for a share between 0 and 1."""
        factor = 1 / math.sqrt(max(x[0].numel(), 1) * (self.limits[1] - self.limits[0]))
        x, step = x.float(), slowed(self.positive_step, factor)
        apply: Any = _MixedRounding.apply
        result: Any = apply(x, step, share, self.limits)
        kept = None if share is None else share.detach()
        result.recipe = Recipe(x=x.detach(), step=step.detach(), share=kept, limits=self.limits)
        return result  # type: ignore[no-any-return]


def slowed(x: Tensor, factor: float) -> Tensor:
    """Return x, whose gradient is multiplied by a factor."""
    return x * factor + (x * (1 - factor)).detach()
