"""The score function with the loss as it is: the control that shows what the baseline is for."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hwcomp.estimators._draws import one_path
from hwcomp.estimators._interface import Draw, Estimator, Logits, Loss, Mixing
from hwcomp.estimators._score import check_samples, score_gradients


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreFunctionWithoutBaseline(Estimator):
    r"""Draws S networks and weights the score of each with its loss.

    .. math:: g = \frac{1}{S} \sum_s \ell_s\, (\mathrm{onehot}(k_s) - p)

    It is unbiased, and useless where losses differ little from their mean: its noise grows with the loss itself, not
    with the differences that it looks for. The sum over the filters of a layer is the estimator of [Zur2019]_, Towards
    learning of filter-level heterogeneous compression of convolutional neural networks. Compare `score_function`.

    Attributes:
        samples: S, at least 1.
    """

    samples: int = 8

    mixing: ClassVar[Mixing] = "outputs"

    def __post_init__(self) -> None:
        check_samples("score_function_without_baseline", self.samples, 1)

    def coefficients(self, logits: Logits, draw: Draw) -> dict[str, Tensor]:
        """Return one drawn candidate per site, without a gradient."""
        return one_path(logits, draw)

    def gradients(self, loss: Loss, logits: Logits, draw: Draw) -> tuple[dict[str, Tensor], float]:
        """Return the gradient from S draws, and their mean loss."""
        return score_gradients(loss, logits, draw, self.samples, has_baseline=False)


ESTIMATOR = ScoreFunctionWithoutBaseline
