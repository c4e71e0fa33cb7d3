r"""Probabilities that are led to another latency in small steps, so that what a candidate costs is always up to date.

What a candidate costs at the margin depends on what all others are: integers are cheap where the neighbours compute in
integers too, and a channel where the others are few. `hwcomp.search.tilt` moves by the costs where it begins; far from
there it may end at a corner that is neither the fastest one nor at the limit. So the way is divided,

.. math:: p_0 = p, \quad p_{i+1} = \mathrm{tilted}\Big(p_i, \; E_p[T] \Big(\frac{B}{E_p[T]}\Big)^{(i+1)/n}\Big)

with the costs taken anew in each step.
"""

from math import ceil, log

import torch

from hwcomp.joint_cost import JointTable
from hwcomp.search.joint_projection import Preference
from hwcomp.search.tilt import tilted

STEP = 0.1
"""Largest relative change of the expected latency in one step."""


def moved(joint: JointTable, preference: Preference, limit_us: float) -> Preference:
    """Return the probabilities whose expected latency is a limit, or as near to it as they come.

    Args:
        joint: latencies.
        preference: what the search found.
        limit_us: by the table, above 0.
    """
    start_us = expected_us(joint, preference)
    way = log(limit_us / start_us)
    steps = max(1, ceil(abs(way) / STEP))
    for step in range(1, steps + 1):
        preference = tilted(joint, preference, start_us * (limit_us / start_us) ** (step / steps))
    return preference


def expected_us(joint: JointTable, preference: Preference) -> float:
    """Return the latency that is expected of a configuration drawn from probabilities, in microseconds."""
    schemes = {site: torch.tensor(list(p.values()), dtype=torch.float64) for site, p in preference.schemes.items()}
    widths = {
        group: (list(p), torch.tensor(list(p.values()), dtype=torch.float64)) for group, p in preference.widths.items()
    }
    return float(joint.expected_us(schemes, widths))
