"""One candidate is drawn, and the gradient is that of a softened draw."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.estimators._interface import Draw, Estimator, Logits, Mixing


@dataclass(frozen=True, kw_only=True, slots=True)
class Gumbel(Estimator):
    r"""Computes with one drawn candidate and differentiates as if the draw were soft (straight-through).

    .. math:: s = \mathrm{softmax}\Bigl( \frac{\alpha + g}{T} \Bigr), \quad g_k = -\log(-\log u_k), \quad
        c = \mathrm{onehot}(\arg\max_k s_k), \quad
        \frac{\partial c}{\partial \alpha} := \frac{\partial s}{\partial \alpha}

    Candidate k is drawn with probability :math:`\mathrm{softmax}(\alpha)_k` at every temperature T, which falls
    exponentially with the search, :math:`T = T_0 (T_1 / T_0)^{progress}`. The gradient is biased: for a loss that is
    linear in c it tends to the true one as T falls to 0, while its variance grows; for others a bias stays, as the loss
    is differentiated at one candidate only. All candidates need a gradient though all but one have coefficient 0, so
    sites mix weights, not outputs. Source: [Wu2019]_, FBNet: hardware-aware efficient convnet design via differentiable
    neural architecture search, which mixes with s itself; the default schedule is its 5 exp(-0.045 epoch) of 90 epochs.

    Attributes:
        start: temperature at the beginning.
        end: temperature at the end.
    """

    start: float = 5.0
    end: float = 5.0 * math.exp(-0.045 * 90)

    mixing: ClassVar[Mixing] = "weights"

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            if not 0 < value < math.inf:
                raise InputError(f"The temperature '{name}' of estimator 'gumbel' is {value}; give a positive number.")

    def temperature(self, progress: float) -> float:
        """Return the temperature at a progress between 0 and 1."""
        return float(self.start * (self.end / self.start) ** progress)

    def coefficients(self, logits: Logits, draw: Draw) -> dict[str, Tensor]:
        """Return a one-hot draw per site, differentiable as the soft one."""
        temperature = self.temperature(draw.progress)
        return {site: _straight_through(tensor, temperature, draw.generator) for site, tensor in logits.items()}


def _straight_through(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    waiting = torch.empty(logits.shape, device=generator.device).exponential_(generator=generator)
    # -log of an exponential number is a Gumbel number
    soft = ((logits - waiting.log().to(logits)) / temperature).softmax(0)
    hard = torch.zeros_like(soft).scatter(0, soft.argmax(0, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


ESTIMATOR = Gumbel
