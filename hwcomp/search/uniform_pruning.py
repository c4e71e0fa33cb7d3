"""One rate for all groups, at once: the least important channels go, and the rest is trained."""

from hwcomp.search.shrink import Shrink, best_channels
from hwcomp.search.shrunk import Shrunk

METHOD = "uniform_pruning"
IMPORTANCE = "l1"


def uniform_pruning(shrink: Shrink) -> Shrunk:
    """Return the network without a share of the channels of every group, recovered by training.

    Source: [Li2017]_, Pruning filters for efficient convnets, with the channels of a group removed together.

    Raises:
        InputError: there is no rate, or no training data.
    """
    widths = shrink.widths_at(shrink.rate)
    smaller = shrink.compacted(best_channels(shrink.scores(), widths))
    trained, history = shrink.recovery(smaller, METHOD, goal=widths)
    return Shrunk(network=trained, widths=widths, history=history)
