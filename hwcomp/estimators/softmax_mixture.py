"""Every candidate computes, and their outputs are mixed."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hwcomp.estimators._interface import Draw, Estimator, Logits, Mixing


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftmaxMixture(Estimator):
    r"""Mixes the candidates' outputs with their probabilities.

    .. math:: y = \sum_k p_k\, o_k(x), \quad p = \mathrm{softmax}(\alpha), \quad
        \frac{\partial L}{\partial \alpha_i} = p_i \Bigl( \frac{\partial L}{\partial p_i}
        - \sum_j p_j \frac{\partial L}{\partial p_j} \Bigr)

    It is the exact gradient of the loss of the mixture, which is a network that cannot be chosen. A step costs
    as much time and memory as all candidates together. Source: [Liu2019]_, DARTS: differentiable architecture search.
    """

    mixing: ClassVar[Mixing] = "outputs"

    def coefficients(self, logits: Logits, draw: Draw) -> dict[str, Tensor]:  # noqa: ARG002 - it draws nothing
        """Return the probabilities, differentiable."""
        return {site: tensor.softmax(0) for site, tensor in logits.items()}


ESTIMATOR = SoftmaxMixture
