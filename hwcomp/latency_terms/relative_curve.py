"""How much better a network is than a homogeneous one that is as fast."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.latency_terms._interface import LatencyTerm

OFFSET = 0.1
"""Keeps the total above 0: the relative distance is never below -1."""

SLOPE_BELOW = 0.1
"""How much it is worth to beat the curve further, relative to reaching it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RelativeCurve(LatencyTerm):
    r"""Compares the task loss with that of homogeneous networks of the same latency; it has no weight to tune.

    .. math:: T = 0.1 + \mathrm{LeakyReLU}_{0.1}(r), \quad r = \frac{\ell - \hat\ell(E / B)}{\hat\ell(E / B)}

    :math:`\hat\ell` is piecewise linear through the points of homogeneous networks (one precision or one width
    everywhere), and constant beyond the first and the last. It aims at no budget: it ends wherever the search beats
    the curve most. The losses of the curve must come from held-out data, as those of the search do: training losses are
    lower, and against them nothing ever wins. Source: [Zur2019]_, Towards learning of filter-level heterogeneous
    compression of convolutional neural networks, method IV, there of multiply-accumulates.

    Attributes:
        ratios: latency over budget of homogeneous networks, ascending, two or more.
        losses: their loss on held-out data, positive.
    """

    ratios: Sequence[float]
    losses: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.ratios) != len(self.losses) or len(self.ratios) < 2:
            raise InputError(
                f"The curve of 'relative_curve' has {len(self.ratios)} ratios and {len(self.losses)} losses; "
                "give two points or more, as many losses as ratios."
            )
        if not all(0 < a < b < math.inf for a, b in pairwise(self.ratios)):
            raise InputError(f"The ratios of 'relative_curve' are {list(self.ratios)}; give them ascending, above 0.")
        if not all(0 < loss < math.inf for loss in self.losses):
            raise InputError(f"The losses of 'relative_curve' are {list(self.losses)}; give positive numbers.")

    def total(self, task: Tensor, ratio: Tensor) -> Tensor:
        """Return the leaky distance from the curve."""
        expected = self.curve(ratio)
        distance = (task - expected) / expected
        return OFFSET + torch.nn.functional.leaky_relu(distance, SLOPE_BELOW)

    def curve(self, ratio: Tensor) -> Tensor:
        """Return the loss of a homogeneous network at a ratio, differentiable."""
        points = ratio.new_tensor(self.ratios)
        losses = ratio.new_tensor(self.losses)
        inside = ratio.clamp(self.ratios[0], self.ratios[-1])
        right = torch.searchsorted(points, inside.detach()).clamp(1, len(points) - 1)
        share = (inside - points[right - 1]) / (points[right] - points[right - 1])
        return losses[right - 1] + share * (losses[right] - losses[right - 1])


TERM = RelativeCurve
