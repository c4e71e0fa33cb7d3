"""The gradient of task loss and latency together, from an estimate of the task's alone."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hwcomp.latency_terms._interface import LatencyTerm


def total_gradients(
    term: LatencyTerm,
    gradients: Mapping[str, Tensor],
    mean_loss: float,
    logits: Mapping[str, Tensor],
    expected_ratio: Callable[[Mapping[str, Tensor]], Tensor],
) -> tuple[dict[str, Tensor], float]:
    r"""Return the gradient of a latency term's total by each site's logits, (K,), and the ratio.

    .. math:: \frac{\partial T}{\partial \alpha} =
        \frac{\partial T}{\partial \ell} \frac{\partial \ell}{\partial \alpha}
        + \frac{\partial T}{\partial r} \frac{\partial r}{\partial \alpha}, \quad p = \mathrm{softmax}(\alpha)

    The expected latency is an exact function of the probabilities, so only the task's gradient has to be estimated.

    Args:
        term: T of the task loss and the ratio.
        gradients: of the task loss, what `hwcomp.estimators.Estimator.gradients` returned.
        mean_loss: the task loss, what it returned beside them.
        logits: of every site; they do not change.
        expected_ratio: of the probabilities, site -> (K,): expected latency over budget, differentiable.
    """
    slope, by_latency, ratio = slopes(term, mean_loss, logits, expected_ratio)
    return {site: slope * gradients[site] + push for site, push in by_latency.items()}, ratio


def slopes(
    term: LatencyTerm,
    mean_loss: float,
    logits: Mapping[str, Tensor],
    expected_ratio: Callable[[Mapping[str, Tensor]], Tensor],
) -> tuple[float, dict[str, Tensor], float]:
    r"""Return :math:`\partial T / \partial \ell`, each site's gradient of T through the latency alone, and the ratio.

    The arguments are those of `total_gradients`.
    """
    leaves = {site: tensor.detach().clone().requires_grad_() for site, tensor in logits.items()}
    with torch.enable_grad():
        ratio = expected_ratio({site: leaf.softmax(0) for site, leaf in leaves.items()})
        task = torch.tensor(mean_loss, dtype=ratio.dtype, device=ratio.device, requires_grad=True)
        total = term.total(task, ratio)
        slope, *found = torch.autograd.grad(total, [task, *leaves.values()], allow_unused=True, materialize_grads=True)
    return slope.item(), dict(zip(leaves, found, strict=True)), ratio.item()
