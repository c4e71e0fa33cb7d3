"""Networks are drawn, and choices that did better than the others become more probable."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hwcomp.estimators._draws import one_path
from hwcomp.estimators._interface import Draw, Estimator, Logits, Loss, Mixing
from hwcomp.estimators._score import check_samples, score_gradients


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreFunction(Estimator):
    r"""Draws S networks and weights the score of each with its loss relative to the mean of the others.

    .. math:: g = \frac{1}{S} \sum_s \Bigl( \ell_s - \frac{1}{S - 1} \sum_{r \ne s} \ell_r \Bigr)
        (\mathrm{onehot}(k_s) - p)

    It is unbiased for every loss, also one without a derivative, as the baseline of a draw comes from the other draws.
    A step costs S forward passes and no backward pass. Source: [Kool2019]_, Buy 4 REINFORCE samples, get a baseline for
    free.

    Attributes:
        samples: S, at least 2.
    """

    samples: int = 8

    mixing: ClassVar[Mixing] = "outputs"

    def __post_init__(self) -> None:
        check_samples("score_function", self.samples, 2)

    def coefficients(self, logits: Logits, draw: Draw) -> dict[str, Tensor]:
        """Return one drawn candidate per site, without a gradient."""
        return one_path(logits, draw)

    def gradients(self, loss: Loss, logits: Logits, draw: Draw) -> tuple[dict[str, Tensor], float]:
        """Return the gradient from S draws, and their mean loss."""
        return score_gradients(loss, logits, draw, self.samples, has_baseline=True)


ESTIMATOR = ScoreFunction
