"""Asymptotic soft filter pruning: as soft pruning, but the share of zeros rises from none to the rate."""

from hwcomp.search.filter_schedule import asymptotic_rate
from hwcomp.search.independent_layers import prune_independently
from hwcomp.search.shrink import Shrink
from hwcomp.search.shrunk import Shrunk
from hwcomp.search.zeroing import prune_softly

METHOD = "asymptotic_soft_filter_pruning"
IMPORTANCE = "l2"


def asymptotic_soft_filter_pruning(shrink: Shrink) -> Shrunk:
    """Return the network after training with a share of zeros that rises fast at first and ever more slowly.

    Source: [He2020]_, Asymptotic soft filter pruning for deep convolutional neural networks, by width group. From a
    trained start a constant rate destroys at once what the asymptotic one leaves time to move elsewhere.

    Raises:
        InputError: there is no rate, or no training data.
    """
    prune = prune_independently if shrink.options.paper else prune_softly
    return prune(shrink, asymptotic_rate, METHOD)
