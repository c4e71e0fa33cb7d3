"""What an estimator is: how a site mixes its candidates, and how the loss depends on the logits."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

Mixing = Literal["outputs", "weights"]
"""How a site combines its candidates k with the coefficients c.

"outputs": every candidate computes, :math:`y = \\sum_k c_k\\, o_k(x)`; one whose coefficient is exactly 0 may be left
out, and then gets no gradient. "weights": the operator computes once, on :math:`\\sum_k c_k\\, Q_k(w)`, and every
coefficient gets its gradient, also where it is 0.
"""

Logits = Mapping[str, Tensor]
"""Site -> one number per candidate, (K,)."""

Coefficients = Mapping[str, Tensor]
"""Site -> what a forward pass mixes its candidates with, (K,)."""

Loss = Callable[[Coefficients], Tensor]
"""Runs the network with coefficients and returns one number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """What an estimator may depend on besides the logits.

    Attributes:
        progress: of the search, from 0 to 1, for schedules.
        generator: the source of all random numbers, so that a seed decides the search.
    """

    progress: float
    generator: torch.Generator


class Estimator(ABC):
    """Relaxes or samples the choice among candidates, and says how the loss depends on the logits.

    A frozen dataclass whose fields are its options. Every site draws independently of the others.

    Attributes:
        mixing: how sites combine their candidates.
    """

    __slots__ = ()

    mixing: ClassVar[Mixing]

    @abstractmethod
    def coefficients(self, logits: Logits, draw: Draw) -> dict[str, Tensor]:
        """Return the coefficients of one forward pass, site -> (K,).

        Where they are differentiable by the logits, one backward pass trains weights and logits at once (single-level);
        otherwise they have no gradient.
        """

    def gradients(self, loss: Loss, logits: Logits, draw: Draw) -> tuple[dict[str, Tensor], float]:
        r"""Return the gradient by each site's logits, (K,), and the mean loss.

        Here the derivative through the coefficients of one draw,

        .. math:: \frac{\partial L}{\partial \alpha_i} = \sum_j \frac{\partial L}{\partial c_j}
            \frac{\partial c_j}{\partial \alpha_i};

        estimators whose coefficients have no derivative say what they do instead. The logits do not change, and the
        gradients of the weights are left alone.

        Args:
            loss: may be called several times.
            logits: of every site; nothing is written to them.
            draw: progress and random numbers.
        """
        if not logits:
            with torch.no_grad():
                return {}, loss({}).item()
        leaves = {site: tensor.detach().clone().requires_grad_() for site, tensor in logits.items()}
        with torch.enable_grad():
            value = loss(self.coefficients(leaves, draw))
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(leaves, found, strict=True)), value.item()

    def stepped(
        self,
        before: Logits,  # noqa: ARG002 - for those that must know
        after: Logits,
        gradients: Mapping[str, Tensor],  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """Return the logits to go on with after an optimiser's step: as the optimiser left them.

        Args:
            before: logits before the step.
            after: logits after it.
            gradients: what `gradients` returned.
        """
        return dict(after)
