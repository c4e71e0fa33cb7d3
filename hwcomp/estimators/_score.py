"""The score function: how the loss of drawn networks depends on the probability of drawing them."""

import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.estimators._draws import drawn, one_hot
from hwcomp.estimators._interface import Draw, Logits, Loss


def score_gradients(
    loss: Loss, logits: Logits, draw: Draw, samples: int, *, has_baseline: bool
) -> tuple[dict[str, Tensor], float]:
    r"""Return the gradient by each site's logits, (K,), from S draws of all sites, and their mean loss.

    .. math:: g = \frac{1}{S} \sum_s (\ell_s - b_s) (\mathrm{onehot}(k_s) - p), \quad
        b_s = \frac{1}{S - 1} \sum_{r \ne s} \ell_r \text{ or } 0

    Args:
        loss: called S times, without a gradient.
        logits: of every site.
        draw: random numbers.
        samples: S.
        has_baseline: whether the mean loss of the other draws is subtracted.
    """
    choices = {site: drawn(tensor, draw, samples, again=True) for site, tensor in logits.items()}
    with torch.no_grad():
        losses = [
            loss({site: one_hot(tensor, choices[site][index]) for site, tensor in logits.items()}).item()
            for index in range(samples)
        ]
    total = sum(losses)
    advantages = [(one * samples - total) / (samples - 1) if has_baseline else one for one in losses]
    gradients = {site: _weighted_score(tensor.detach(), choices[site], advantages) for site, tensor in logits.items()}
    return gradients, total / samples


def check_samples(name: str, samples: int, least: int) -> None:
    """Raise InputError if an estimator has fewer samples than it needs."""
    if samples < least:
        raise InputError(f"The estimator '{name}' has {samples} samples; give {least} or more.")


def _weighted_score(logits: Tensor, choices: Tensor, advantages: list[float]) -> Tensor:
    """Return the mean over draws of advantage x (one-hot - probabilities), (K,)."""
    weights = torch.tensor(advantages, dtype=logits.dtype, device=logits.device)
    chosen = torch.zeros_like(logits).index_add(0, choices, weights)
    return (chosen - weights.sum() * logits.softmax(0)) / len(advantages)
