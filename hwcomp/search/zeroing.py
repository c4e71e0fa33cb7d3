"""Filters that are set to zero after each epoch and may grow again: what soft and asymptotic pruning share."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwcomp.compaction import zero_channels
from hwcomp.search.filter_schedule import Schedule, pruned_count
from hwcomp.search.shrink import Shrink, best_channels
from hwcomp.search.shrunk import Shrunk, joined
from hwcomp.search.zero_training import learning_rate, train_with_zeros


def prune_softly(shrink: Shrink, schedule: Schedule, method: str) -> Shrunk:
    """Train; after each epoch set the least important channels of each group to zero; at the end remove them.

    How many is the schedule's share of the channels that the fast width nearest to the rate leaves out. Zeros are set
    in the rows that make a channel, not in its normalisation: with both at zero no gradient would pass, and nothing
    could grow again. So a zero filter still gives a constant; when it is removed in the end, the statistics of the
    normalisations behind it are taken anew, which takes up the constant but at the borders of the image.

    A share of the training comes after that (none in the papers): a filter that is zero grows again within few steps,
    for the normalisation behind it makes it as large as the others, and so each time it is missed.

    Raises:
        InputError: there is no rate, or no training data.
    """
    goal = shrink.widths_at(shrink.rate)

    def zero(module: nn.Module, done: float) -> None:
        _zero(shrink, module, goal, schedule, done)

    last = shrink.options.recovery if shrink.recovery.has_epochs(shrink.options.recovery) else 0.0
    trained, history = train_with_zeros(shrink, method, zero, goal=goal, share=1 - last)
    left = shrink.of_same(trained)
    kept = best_channels(left.scores(), goal)
    smaller = shrink.recovery.recalibrated(left.compacted(kept))
    if last:
        rate = learning_rate(shrink.options)
        smaller, records = shrink.recovery(
            smaller, f"{method}, removed", goal=goal, share=last, rate=rate, decay_all=True
        )
        history = joined(history, records)
    return Shrunk(network=smaller, widths=goal, history=history)


def _zero(shrink: Shrink, module: nn.Module, goal: Mapping[str, int], schedule: Schedule, done: float) -> None:
    """Set the least important channels of each group to zero, as many as the schedule has after a share of training."""
    removed = {}
    for group in shrink.groups.groups:
        share = 1 - goal[group.name] / group.channels
        count = pruned_count(group.channels, schedule(done, 1, share)) if share else 0
        removed[group.name] = _smallest(shrink.importance(module, group), count)
    zero_channels(module, shrink.groups, removed, scales=False)


def _smallest(scores: Tensor, count: int) -> list[int]:
    """Return the channels with the smallest scores; of equal ones the last, as `best_channels` keeps the first."""
    kept = torch.argsort(scores, descending=True, stable=True)[: len(scores) - count].tolist()
    return sorted(set(range(len(scores))) - set(kept))
