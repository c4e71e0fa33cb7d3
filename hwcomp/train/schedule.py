"""The learning rate over a training, as a function of the share that is done."""

import math

from hwcomp.train.config import TrainConfig

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25


def rate_factor(config: TrainConfig, share: float) -> float:
    r"""Return the learning rate at a share of the training, as a factor of the highest.

    With :math:`w` the share of warm-up and :math:`u = (s - w) / (1 - w)`: "cosine" is :math:`s / w` while
    :math:`s < w`, then :math:`(1 + \cos \pi u) / 2`; "one_cycle" rises by a cosine from 1/25 to 1, then falls as
    "cosine" does ([Smith2018]_); "constant" stays at 1 after the warm-up.

    Args:
        config: schedule and warm-up.
        share: 0 to 1.
    """
    rise = config.warmup
    if config.schedule == "one_cycle":
        rise = rise or ONE_CYCLE_RISE
        if share < rise:
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - math.cos(math.pi * share / rise)) / 2
    elif share < rise:
        return share / rise
    if config.schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (min(share, 1.0) - rise) / (1 - rise))) / 2
