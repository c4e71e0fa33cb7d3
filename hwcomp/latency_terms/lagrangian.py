"""A multiplier that grows while the budget is missed, so that the search ends at the budget."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.latency_terms._checks import check_positive
from hwcomp.latency_terms._interface import LatencyTerm


@dataclass(kw_only=True, slots=True)
class Lagrangian(LatencyTerm):
    r"""Augmented Lagrangian of "expected latency E is at most the budget B".

    .. math:: T = \ell + \frac{\max(0, \lambda + \rho h)^2 - \lambda^2}{2 \rho}, \quad h = \frac{E}{B} - 1, \quad
        \lambda \leftarrow \max(0, \lambda + \eta h \, \Delta) \text{ after each step}

    with :math:`\Delta` the share of the search that the step was. Where this ends, either h = 0 or the budget does not
    bind (:math:`\lambda = 0`, h < 0). :math:`\lambda` then tells what the budget costs: how much the loss would fall if
    the budget grew, relative to itself. The quadratic term damps the oscillation of plain dual ascent, and vanishes at
    the solution. Source: [Rockafellar1973]_, The multiplier method of Hestenes and Powell applied to convex
    programming, with one step of descent for each of ascent.

    Attributes:
        rate: :math:`\eta`, of the ascent: what a budget missed by all of itself adds in the whole search.
        curvature: :math:`\rho`, of the quadratic term.
        multiplier: :math:`\lambda`, at the start what is given here.
    """

    rate: float = 50.0
    curvature: float = 1.0
    multiplier: float = 0.0

    def __post_init__(self) -> None:
        check_positive("lagrangian", rate=self.rate, curvature=self.curvature)
        if not 0 <= self.multiplier < math.inf:
            raise InputError(f"The multiplier of 'lagrangian' is {self.multiplier}; give 0 or a positive number.")

    def total(self, task: Tensor, ratio: Tensor) -> Tensor:
        """Return the task loss plus multiplier and quadratic term."""
        push = (self.multiplier + self.curvature * (ratio - 1)).clamp_min(0)
        return task + (push.square() - self.multiplier**2) / (2 * self.curvature)

    def update(self, ratio: float, share: float) -> None:
        """Raise the multiplier while the expected latency is above the budget, lower it while it is below."""
        self.multiplier = max(0.0, self.multiplier + self.rate * share * (ratio - 1))

    def state(self) -> Tensor:
        """Return the multiplier, (1,)."""
        return torch.tensor([self.multiplier], dtype=torch.float64)

    def restore(self, state: Tensor) -> None:
        """Go on from a multiplier, (1,).

        Raises:
            InputError: it is something else, negative, or not finite.
        """
        if state.shape != (1,) or not 0 <= float(state) < math.inf:
            raise InputError(f"The state of 'lagrangian' is one multiplier, 0 or positive; found {state.tolist()}.")
        self.multiplier = float(state)


TERM = Lagrangian
