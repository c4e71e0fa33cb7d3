"""A penalty that grows with the square of the expected latency."""

from dataclasses import dataclass

from torch import Tensor

from hwcomp.latency_terms._checks import check_positive
from hwcomp.latency_terms._interface import LatencyTerm


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioPenalty(LatencyTerm):
    r"""Adds a fixed multiple of the squared ratio of expected latency E to budget B.

    .. math:: T = \ell + \lambda \Bigl( \frac{E}{B} \Bigr)^2

    Where the search ends depends on :math:`\lambda`: above or below the budget. Source: [Zur2019]_, Towards learning of
    filter-level heterogeneous compression of convolutional neural networks, there of bit operations.

    Attributes:
        weight: :math:`\lambda`.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive("ratio_penalty", weight=self.weight)

    def total(self, task: Tensor, ratio: Tensor) -> Tensor:
        """Return the task loss plus the penalty."""
        return task + self.weight * ratio.square()


TERM = RatioPenalty
