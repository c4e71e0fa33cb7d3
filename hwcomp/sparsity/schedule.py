"""How dense weights are while a network is trained to be sparse."""

from hwcomp.errors import InputError


def density_at(progress: float, final: float) -> float:
    r"""Return the density of gradual pruning, which falls fast at first and ever more slowly.

    .. math:: d(t) = d_f + (1 - d_f) (1 - t)^3

    Source: [Zhu2017]_, To prune, or not to prune: exploring the efficacy of pruning for model compression.

    Args:
        progress: t, share of the pruning that is done, 0 to 1.
        final: d_f, share of the weights that is kept in the end, in (0, 1].

    Raises:
        InputError: one of them is out of its range.
    """
    if not 0 <= progress <= 1:
        raise InputError(f"Gradual pruning goes from 0 to 1; found {progress:g}.")
    if not 0 < final <= 1:
        raise InputError(f"The density of sparse weights is above 0 and at most 1; found {final:g}.")
    return final + (1 - final) * (1 - progress) ** 3
