"""One operator computes on a mixture of the candidates' weights."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hwcomp.estimators._interface import Draw, Estimator, Logits, Mixing


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightMixture(Estimator):
    r"""Mixes the candidates' weights, and the formats of the input, with their probabilities, and computes once.

    .. math:: y = \Bigl( \sum_k p_k\, Q^w_k(w) \Bigr) * \Bigl( \sum_k p_k\, Q^a_k(x) \Bigr),
        \quad p = \mathrm{softmax}(\alpha)

    A step costs one operator however many candidates there are. Like `softmax_mixture` it is the exact gradient of the
    loss of the mixture. Source: [Cai2020b]_, Rethinking differentiable search for mixed-precision neural networks.
    """

    mixing: ClassVar[Mixing] = "weights"

    def coefficients(self, logits: Logits, draw: Draw) -> dict[str, Tensor]:  # noqa: ARG002 - it draws nothing
        """Return the probabilities, differentiable."""
        return {site: tensor.softmax(0) for site, tensor in logits.items()}


ESTIMATOR = WeightMixture
