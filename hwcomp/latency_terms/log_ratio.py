"""The task loss times a power of the expected latency."""

from dataclasses import dataclass

from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.latency_terms._checks import check_positive
from hwcomp.latency_terms._interface import LatencyTerm


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRatio(LatencyTerm):
    r"""Multiplies the task loss with a power of the ratio of expected latency E to budget B.

    .. math:: T = \ell \Bigl( \frac{E}{B} \Bigr)^\beta, \quad \log T = \log \ell + \beta \log \frac{E}{B}

    One per cent of latency is worth :math:`\beta` per cent of loss everywhere; the budget only scales the total and has
    no influence on where the search ends. The forms of the literature multiply with a power of log E, where E is in
    some unit: below one unit the logarithm is negative, and a slower network or a larger loss is then rewarded. A ratio
    has no unit and is always positive. Source: [Wu2019]_, FBNet: hardware-aware efficient convnet design via
    differentiable neural architecture search, whose exponent is the default; the ratio is ours.

    Attributes:
        exponent: :math:`\beta`.
    """

    exponent: float = 0.6

    def __post_init__(self) -> None:
        check_positive("log_ratio", exponent=self.exponent)

    def total(self, task: Tensor, ratio: Tensor) -> Tensor:
        """Return the product.

        Raises:
            InputError: the ratio is not positive.
        """
        if not bool(ratio > 0):
            raise InputError(f"The expected latency is {ratio.item():g} budgets; 'log_ratio' needs more than 0.")
        return task * ratio**self.exponent


TERM = LogRatio
