"""Which widths are measured to learn how the latency depends on them, and which widths are worth having."""

import random
from collections.abc import Sequence
from math import ceil, floor

from hwcomp.groups import Groups
from hwcomp.width_fit import Timed
from hwcomp.width_law import Polynomial, Widths

MULTIPLES = (1, 4, 8, 16)
"""Channel counts of which a runtime may be fond."""

UNIFORM = (1.0, 0.75, 0.5, 0.25)
MIXED = 5
MOST = 16
"""Widths of a group that are chosen from: the choice looks at all pairs of widths of neighbouring groups."""

TRIAL_SHARE = 0.7
TOLERANCE = 0.05
"""Relative loss by a width off the fast ones that is taken for none."""


def rounded(channels: int, share: float, multiple: int) -> int:
    """Return the width nearest to a share of the channels that is a multiple, at least one block, at most all.

    A group that is no wider than one block keeps all of its channels.
    """
    if channels <= multiple:
        return channels
    blocks = max(1, floor(share * channels / multiple + 0.5))
    return min(channels, blocks * multiple)


def block_of(channels: int) -> int:
    """Return the multiple that a group is measured at: the largest of which it has two, if there is one."""
    return max((m for m in MULTIPLES if 2 * m <= channels), default=1)


def designed_widths(groups: Groups, seed: int) -> list[dict[str, int]]:
    """Return the widths of the networks that are measured: uniform ones, then mixed ones."""
    generator = random.Random(seed)  # noqa: S311 - widths, not secrets

    def widths(shares: Sequence[float]) -> dict[str, int]:
        pairs = zip(groups.groups, shares, strict=True)
        return {group.name: rounded(group.channels, share, block_of(group.channels)) for group, share in pairs}

    count = len(groups.groups)
    uniform = [widths([share] * count) for share in UNIFORM]
    return uniform + [widths(generator.choices(UNIFORM, k=count)) for _ in range(MIXED)]


def trial_widths(groups: Groups, multiple: int) -> dict[str, int]:
    """Return widths that are odd multiples of a number, to see whether the runtime minds."""
    found = {}
    for group in groups.groups:
        width = rounded(group.channels, TRIAL_SHARE, multiple)
        if width % (2 * multiple) == 0 and width < group.channels:
            width += multiple if width + multiple <= group.channels else -multiple
        found[group.name] = max(1, width)
    return found


def fast_multiple(law: Polynomial, trials: Sequence[tuple[int, Timed]]) -> int:
    """Return the smallest multiple whose widths are as fast as the law says of good ones.

    Args:
        law: fitted on networks of good widths.
        trials: multiple -> a network of `trial_widths`.
    """
    ratio = {multiple: timed.latency_us / law(timed.widths) for multiple, timed in trials}
    best = min(ratio.values())
    return min(multiple for multiple, value in ratio.items() if value <= (1 + TOLERANCE) * best)


def candidates(groups: Groups, multiple: int, now: Widths) -> dict[str, list[int]]:
    """Return the widths that each group may have: its present one, and multiples below it, `MOST` in all."""
    found = {}
    for group in groups.groups:
        width = now.get(group.name, group.channels)
        step = multiple * ceil(width / (MOST * multiple))
        found[group.name] = [*range(step, width, step), width]
    return found
