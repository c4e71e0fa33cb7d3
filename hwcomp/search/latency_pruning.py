"""Channels by what they are worth and what they cost: the most important network that is fast enough, exactly."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.search.shrink import Shrink, best_channels
from hwcomp.search.shrunk import Shrunk, joined
from hwcomp.search.width_knapsack import solve_widths
from hwcomp.train import EpochRecord
from hwcomp.width_designs import candidates
from hwcomp.width_law import Polynomial, Widths

METHOD = "latency_pruning"
IMPORTANCE = "taylor"


def latency_pruning(shrink: Shrink, law: Polynomial, now: Widths, limit_us: float) -> Shrunk:
    """Return the network whose widths keep the most importance within a latency, recovered by training.

    With several steps the latency goes down to the limit by equal ratios, and the importance is looked at anew after
    the training of each step.

    Source: [Shen2022]_, Structural pruning via latency-saliency knapsack; with the price of a channel depending on the
    widths at both ends of its layers, see `hwcomp.search.width_knapsack`.

    Args:
        shrink: the network as it is now, whose channels may be fewer than at first.
        law: latency by the widths, in microseconds.
        now: widths that the network has.
        limit_us: latency that must be met.

    Raises:
        InputError: not even the smallest widths are fast enough, or there is no training data.
    """
    steps, widths = shrink.options.steps, dict(now)
    history: list[EpochRecord] = []
    start_us = law(widths)
    for step in range(1, steps + 1):
        step_us = start_us * (limit_us / start_us) ** (step / steps)
        scores = shrink.scores()
        allowed = candidates(shrink.groups, shrink.multiple, widths)
        found = solve_widths(law, allowed, {name: _values(scores[name], allowed[name]) for name in allowed}, step_us)
        if found is None:
            smallest_us = law({name: options[0] for name, options in allowed.items()})
            raise InputError(
                f"Fewer channels alone cannot make this network fast enough: {step_us / 1e3:.3g} ms are wanted of its "
                f"layers, and {smallest_us / 1e3:.3g} ms is what the smallest widths take by the table."
            )
        smaller = shrink.compacted(best_channels(scores, found))
        trained, records = shrink.recovery(smaller, f"{METHOD} {step}/{steps}", goal=found, share=1 / steps)
        shrink, widths = shrink.of(trained), found
        history += records
    return Shrunk(network=shrink.network, widths=widths, history=joined(tuple(history)))


def _values(scores: Tensor, widths: list[int]) -> NDArray[np.float64]:
    """Return how much importance each width keeps."""
    ordered = np.sort(scores.numpy().astype(np.float64))[::-1]
    kept = np.concatenate([[0.0], np.cumsum(ordered)])
    chosen: NDArray[np.float64] = kept[np.array(widths)]
    return chosen
