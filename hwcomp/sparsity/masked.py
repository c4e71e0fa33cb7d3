r"""An operator that computes with a part of its weights, and can learn which.

Source: [Mou2023]_, DASS: differentiable architecture search for sparse neural networks, for scores beside the weights.
"""

from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hwcomp.errors import InputError
from hwcomp.ops import anchor
from hwcomp.scheme import Sparse
from hwcomp.sparsity.patterns import MIN_KEPT, least_kept, pattern_mask

Learned = Literal["weights", "scores", "both"]
"""What of a sparse operator is trained."""

Initial = Literal["magnitude", "kaiming"]
"""Where scores start: at the weights, scaled, or at random."""

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


class SparseOperator(nn.Module):
    r"""An operator with a dense weight W, scores S of its shape and a mask M of the best scores.

    .. math:: y = op(x, W \odot M(S)), \quad \frac{\partial M}{\partial |S|} := 1
        \;\Rightarrow\; \frac{\partial L}{\partial S} = \frac{\partial L}{\partial (W \odot M)} \odot W \odot
        \mathrm{sign}(S), \quad \frac{\partial L}{\partial W} = \frac{\partial L}{\partial (W \odot M)} \odot M

    So the gradient reaches the scores of weights that are left out, and they may come back. While scores are trained
    the mask follows them; else it stays until `renew`. At least one weight for each output channel, on average, and
    `MIN_KEPT` in all are kept (see `pattern_mask`), so a layer may be denser than asked. It begins with scores that are
    not trained.

    Attributes:
        op: the operator with what is fused into it or normalises it; its weight is W.
        sparse: the pattern and its density.
        scores: S, in the shape of the weight.
        mask: M as of the last `renew`, in the shape of the weight.

    Args:
        op: see above.
        sparse: see above.
        initial: "magnitude" for :math:`S = \sqrt{6 / n} \, W / \max |W|` with n inputs of an output channel, "kaiming"
            for a normal distribution with the variance 2 / n.
        min_kept: in place of `MIN_KEPT`.
        generator: of random scores.

    Raises:
        InputError: there is no weight of a convolution or linear layer inside.
    """

    mask: Tensor

    def __init__(
        self,
        op: nn.Module,
        sparse: Sparse,
        *,
        initial: Initial = "magnitude",
        min_kept: int = MIN_KEPT,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        layer = anchor(op)
        if not isinstance(layer, LAYERS):
            raise InputError(f"A {type(layer).__name__} cannot be sparse; take a convolution or a linear layer.")
        self.op, self.sparse = op, sparse
        self.weight_name = next(name for name, x in op.named_parameters() if x is layer.weight)
        self.least = least_kept(layer.weight, min_kept)
        self.scores = nn.Parameter(initial_scores(layer.weight, initial, generator), requires_grad=False)
        self.register_buffer("mask", torch.ones_like(layer.weight))
        self.training = layer.training
        self.renew()

    @property
    def weight(self) -> Tensor:
        """W, in the shape that the operator has it."""
        return self.op.get_parameter(self.weight_name)

    @property
    def is_guarded(self) -> bool:
        """Whether the density asks for fewer weights than are always kept."""
        return self.sparse.group is None and self.sparse.density * self.weight.numel() < self.least

    def learn(self, what: Learned) -> None:
        """Say what is trained, and so whether the mask follows the scores."""
        self.weight.requires_grad_(what != "scores")
        self.scores.requires_grad_(what != "weights")

    def renew(self) -> None:
        """Make the mask that the scores ask for."""
        self.mask.copy_(pattern_mask(self.scores, self.sparse, least=self.least))

    def renew_by_magnitude(self, density: float) -> None:
        """Make the mask that keeps the largest weights, at a density of its own."""
        self.mask.copy_(pattern_mask(self.weight, self.sparse, density=density, least=self.least))

    def masked_weight(self) -> Tensor:
        """Return W with zeros where the mask has them."""
        if not self.scores.requires_grad:
            return self.weight * self.mask
        size = self.scores.abs()
        mask = pattern_mask(self.scores, self.sparse, least=self.least)
        return self.weight * (mask + (size - size.detach()))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the operator with the masked weight."""
        result: Tensor = functional_call(self.op, {self.weight_name: self.masked_weight()}, inputs)
        return result


def initial_scores(weight: Tensor, initial: Initial, generator: torch.Generator | None = None) -> Tensor:
    """Return scores to start from, in the shape of the weight; see `SparseOperator`."""
    weight, inputs = weight.detach(), weight[0].numel()
    if initial == "magnitude":
        return sqrt(6 / inputs) * weight / weight.abs().max().clamp_min(torch.finfo(weight.dtype).tiny)
    drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return (sqrt(2 / inputs) * drawn).to(weight.device)
