"""Two candidates are drawn; one computes, and the two are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hwcomp.estimators._draws import drawn, one_hot, one_path
from hwcomp.estimators._interface import Draw, Estimator, Logits, Loss, Mixing

VANISHING = 1e-30
"""The gate of the path that is only compared: sites leave out candidates whose coefficient is 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BinaryGates(Estimator):
    r"""Draws two paths a and b per site, opens the gate of one, and moves probability between these two alone.

    .. math:: q = \mathrm{softmax}(\alpha_a, \alpha_b), \quad y = \sum_{j \in \{a, b\}} g_j\, o_j(x), \quad
        \frac{\partial L}{\partial \alpha_i} \approx q_i \Bigl( \frac{\partial L}{\partial g_i}
        - \sum_{j \in \{a, b\}} q_j \frac{\partial L}{\partial g_j} \Bigr) \text{ for } i \in \{a, b\}, \text{ else } 0

    a and b are drawn by their probabilities without repetition, and the open gate by q: its g is 1, the other 0.
    After the optimiser's step both logits are shifted by one number, so that the probabilities of all other candidates
    stay as they were, see `stepped`. A step costs two candidates. The gradient is biased: the loss is linearised at
    one path, and with more than two candidates pairs are weighted by how often they are drawn. With two candidates and
    a loss that is linear in the gates it is exact. Source: [Cai2019]_, ProxylessNAS: direct neural architecture search
    on target task and hardware, where this form is called two-path.
    """

    mixing: ClassVar[Mixing] = "outputs"

    def coefficients(self, logits: Logits, draw: Draw) -> dict[str, Tensor]:
        """Return one drawn candidate per site, without a gradient."""
        return one_path(logits, draw)

    def gradients(self, loss: Loss, logits: Logits, draw: Draw) -> tuple[dict[str, Tensor], float]:
        """Return the gradient of one draw, zero for candidates that were not drawn, and its loss."""
        if not logits:
            with torch.no_grad():
                return {}, loss({}).item()
        pairs = {site: drawn(tensor, draw, min(2, len(tensor)), again=False) for site, tensor in logits.items()}
        gates = {site: _gates(tensor.detach(), pairs[site], draw) for site, tensor in logits.items()}
        with torch.enable_grad():
            value = loss(gates)
            found = torch.autograd.grad(value, list(gates.values()), allow_unused=True, materialize_grads=True)
        moved = {
            site: _restricted(logits[site].detach(), pairs[site], by_gates)
            for site, by_gates in zip(gates, found, strict=True)
        }
        return moved, value.item()

    def stepped(self, before: Logits, after: Logits, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        r"""Return the logits after a step, those that had a gradient shifted so that their share stays the same.

        .. math:: \alpha_i \mathrel{+}= \log \sum_{j \in \{a, b\}} e^{\alpha^{before}_j}
            - \log \sum_{j \in \{a, b\}} e^{\alpha^{after}_j} \text{ for } i \in \{a, b\}
        """
        return {
            site: _rescaled(before[site].detach(), tensor.detach(), gradients[site] != 0)
            for site, tensor in after.items()
        }


def _gates(logits: Tensor, pair: Tensor, draw: Draw) -> Tensor:
    """Return the gates (K,): 1 for one of a pair, next to nothing for the other, 0 for the rest."""
    is_open = pair[drawn(logits[pair], draw, 1, again=True)]
    compared = torch.zeros_like(logits).scatter(0, pair, VANISHING)
    return torch.where(one_hot(logits, is_open) > 0, 1.0, compared).requires_grad_()


def _restricted(logits: Tensor, pair: Tensor, by_gates: Tensor) -> Tensor:
    """Return the gradient by the logits of a softmax over a pair alone, (K,)."""
    shares, slopes = logits[pair].softmax(0), by_gates[pair]
    return torch.zeros_like(logits).scatter(0, pair, shares * (slopes - (shares * slopes).sum()))


def _rescaled(before: Tensor, after: Tensor, moved: Tensor) -> Tensor:
    if not bool(moved.any()):
        return after
    offset = before[moved].logsumexp(0) - after[moved].logsumexp(0)
    return torch.where(moved, after + offset, after)


ESTIMATOR = BinaryGates
