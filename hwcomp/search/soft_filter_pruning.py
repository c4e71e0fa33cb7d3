"""Soft filter pruning: after every epoch the weakest filters become zero, but go on being trained."""

from hwcomp.search.filter_schedule import constant_rate
from hwcomp.search.independent_layers import prune_independently
from hwcomp.search.shrink import Shrink
from hwcomp.search.shrunk import Shrunk
from hwcomp.search.zeroing import prune_softly

METHOD = "soft_filter_pruning"
IMPORTANCE = "l2"


def soft_filter_pruning(shrink: Shrink) -> Shrunk:
    """Return the network after training with the same share of zeros from before the first epoch to the last.

    Source: [He2018]_, Soft filter pruning for accelerating deep convolutional neural networks, by width group: the
    score of a channel is the sum of the norms of its rows in all layers of its group.

    Raises:
        InputError: there is no rate, or no training data.
    """
    prune = prune_independently if shrink.options.paper else prune_softly
    return prune(shrink, constant_rate, METHOD)
