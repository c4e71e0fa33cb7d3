"""Fold BatchNorm into the convolution or linear layer before it."""

from dataclasses import dataclass
from typing import final

from hwcomp.passes._batchnorm import absorb, fold
from hwcomp.program import PassResult, Program


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FoldBatchnorm:
    r"""Fold a BatchNorm into the weights of the operator that alone feeds it.

    Before: ``x -> conv -> batch_norm -> y``; after: ``x -> conv' -> y``. Weights and statistics in float32.

    .. math:: W'_o = W_o g_o, \quad b'_o = (b_o - \mu_o) g_o + \beta_o, \quad g_o = \gamma_o / \sqrt{v_o + \epsilon}
    """

    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the folded program; a BatchNorm that stays is noted with the reason."""
        return absorb(program, fold, "folded")


PASS = FoldBatchnorm
