r"""Probabilities for another latency than the one that they were searched for.

.. math:: \tilde p_k \propto p_k \exp(\tau \, m_k / B), \qquad m_k = \partial E[T] / \partial p_k, \qquad
          \tau : \; E_{\tilde p}[T] = B

A search ends where what a candidate saves of the loss is worth its latency, at the price of the multiplier. Another
budget has another price: all candidates move by the difference, in proportion to the latency that each costs at the
margin. A search that was too short to decide is moved to its budget in the same way.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from hwcomp.joint_cost import JointTable
from hwcomp.search.joint_projection import Preference

STEEPEST = 4096.0
HALVINGS = 24


def tilted(joint: JointTable, preference: Preference, limit_us: float) -> Preference:
    """Return the probabilities whose expected latency is a limit, or as near to it as they come.

    Args:
        joint: latencies.
        preference: what the search found.
        limit_us: by the table.
    """
    schemes = {site: torch.tensor(list(p.values()), dtype=torch.float64) for site, p in preference.schemes.items()}
    widths = {group: torch.tensor(list(p.values()), dtype=torch.float64) for group, p in preference.widths.items()}
    sizes = {group: list(p) for group, p in preference.widths.items()}

    def expected(some: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
        return joint.expected_us(some, {group: (sizes[group], p) for group, p in other.items()})

    leaves = [p.requires_grad_() for p in (*schemes.values(), *widths.values())]
    if not leaves:
        return preference
    slopes = torch.autograd.grad(expected(schemes, widths), leaves, allow_unused=True, materialize_grads=True)
    marginal = dict(zip((*schemes, *(("width", group) for group in widths)), slopes, strict=True))

    def moved(price: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        def one(p: Tensor, slope: Tensor) -> Tensor:
            return (p.detach().clamp_min(1e-12).log() + price * slope / limit_us).softmax(0)

        return (
            {site: one(p, marginal[site]) for site, p in schemes.items()},
            {group: one(p, marginal["width", group]) for group, p in widths.items()},
        )

    low, high = -STEEPEST, STEEPEST
    for _ in range(HALVINGS):
        price = (low + high) / 2
        low, high = (price, high) if float(expected(*moved(price))) < limit_us else (low, price)
    found_schemes, found_widths = moved(low)
    return Preference(
        schemes={
            site: dict(zip(p, found_schemes[site].tolist(), strict=True)) for site, p in preference.schemes.items()
        },
        widths={
            group: dict(zip(p, found_widths[group].tolist(), strict=True)) for group, p in preference.widths.items()
        },
    )
