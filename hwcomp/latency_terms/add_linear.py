"""A penalty in proportion to the expected latency."""

from dataclasses import dataclass

from torch import Tensor

from hwcomp.latency_terms._checks import check_positive
from hwcomp.latency_terms._interface import LatencyTerm


@dataclass(frozen=True, kw_only=True, slots=True)
class AddLinear(LatencyTerm):
    r"""Adds a fixed multiple of how far the expected latency E is above the budget B, relative to it.

    .. math:: T = \ell + \lambda \frac{E - B}{B}

    Where the search ends depends on :math:`\lambda`; below the budget it is a reward for being faster still. Source:
    [Cai2019]_, ProxylessNAS: direct neural architecture search on target task and hardware.

    Attributes:
        weight: :math:`\lambda`.
    """

    weight: float = 0.1

    def __post_init__(self) -> None:
        check_positive("add_linear", weight=self.weight)

    def total(self, task: Tensor, ratio: Tensor) -> Tensor:
        """Return the task loss plus the penalty."""
        return task + self.weight * (ratio - 1)


TERM = AddLinear
