"""Which channels stay, checked, and what that means for ids."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hwcomp.errors import InputError
from hwcomp.groups import Groups, WidthGroup

Kept = Mapping[str, Sequence[int]]
"""Group name -> the channels that stay, ascending, at least one; groups that are not named keep all."""

Gone = NDArray[np.bool_]


def check_groups(module: nn.Module, groups: Groups) -> None:
    """Make sure that groups are of this network.

    Raises:
        InputError: they are of another one, or of this one before its channels were removed.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for (path, axis), ids in groups.axes.items():
        found = tuple(tensors[path].shape) if path in tensors else None
        if found is None or len(found) <= axis or found[axis] != len(ids):
            is_there = "is not there" if found is None else f"has the shape {found}"
            raise InputError(
                f"The width groups are of another network: {path} should have {len(ids)} entries along axis {axis}, "
                f"but {is_there}; call width_groups for this one."
            )


def gone_ids(groups: Groups, kept: Kept) -> Gone:
    """Return for each channel id whether its channel is removed.

    Raises:
        InputError: an unknown group, or channels that are out of range, not ascending, given twice, or none.
    """
    for name in kept:
        _checked(groups[name], kept[name], "kept", minimum=1)
    # the entry that is added stands for unit -1, which stays
    removed = np.concatenate(
        [_removed(group, kept.get(group.name)) for group in groups.groups] or [np.empty(0, dtype=np.bool_)]
    )
    return np.append(removed, False)[groups.units]


def checked_removed(group: WidthGroup, removed: Sequence[int]) -> list[int]:
    """Return the channels to remove from a group after checking them.

    Raises:
        InputError: they are out of range, not ascending or given twice.
    """
    return _checked(group, removed, "removed", minimum=0)


def _removed(group: WidthGroup, kept: Sequence[int] | None) -> Gone:
    removed = np.ones(group.channels, dtype=np.bool_)
    removed[slice(None) if kept is None else list(kept)] = False
    return removed


def _checked(group: WidthGroup, channels: Sequence[int], what: str, minimum: int) -> list[int]:
    listed = [int(channel) for channel in channels]
    if len(listed) < minimum:
        raise InputError(f"No channel of group {group.name!r} would be {what}; keep at least one.")
    if listed and (min(listed) < 0 or max(listed) >= group.channels):
        wrong = min(listed) if min(listed) < 0 else max(listed)
        raise InputError(
            f"Channel {wrong} of group {group.name!r} is to be {what}, but its channels are 0 to {group.channels - 1}."
        )
    if any(after <= before for before, after in itertools.pairwise(listed)):
        raise InputError(f"The channels of group {group.name!r} to be {what} are not ascending; sort them, each once.")
    return listed
