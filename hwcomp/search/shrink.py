"""What the methods that remove channels share: groups, importance, fast widths, and training."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hwcomp.compaction import Kept, compact
from hwcomp.config import Shrinking
from hwcomp.errors import InputError
from hwcomp.groups import Groups, width_groups
from hwcomp.importance import Importance
from hwcomp.program import Program
from hwcomp.search.recovery import Recovery
from hwcomp.width_designs import rounded
from hwcomp.width_law import Widths


@dataclass(frozen=True, kw_only=True)
class Shrink:
    """A network whose channels are to be removed.

    Attributes:
        network: as traced, with all of its layers.
        groups: of it.
        importance: scores the channels of a group.
        recovery: trains.
        multiple: channel counts that the target is fond of.
        options: of the user.
    """

    network: Program
    groups: Groups
    importance: Importance
    recovery: Recovery
    multiple: int
    options: Shrinking

    def of(self, network: Program) -> "Shrink":
        """Return the same for another network."""
        return replace(self, network=network, groups=width_groups(network))

    def of_same(self, network: Program) -> "Shrink":
        """Return the same for another network with the same graph and widths."""
        return replace(self, network=network)

    @property
    def rate(self) -> float:
        """The share of channels to remove.

        Raises:
            InputError: the user gave none.
        """
        if self.options.rate is None:
            raise InputError("This method removes a share of the channels; give --prune-rate, from 0 to below 1.")
        return self.options.rate

    def widths_at(self, rate: float) -> dict[str, int]:
        """Return the width of every group without a share of its channels, at fast widths."""
        return {group.name: rounded(group.channels, 1 - rate, self.multiple) for group in self.groups.groups}

    def scores(self) -> dict[str, Tensor]:
        """Return the importance of each channel of every group, shape (channels,)."""
        gradients = self.recovery.gradients(self.network) if self.importance.needs_gradients else None
        module = self.network.module
        return {group.name: self.importance(module, group, gradients) for group in self.groups.groups}

    def compacted(self, kept: Kept) -> Program:
        """Return the network with those channels alone."""
        return compact(self.network, self.groups, kept)


def checked_groups(network: Program) -> Groups:
    """Return the groups of a network.

    Raises:
        InputError: no channel of it can be removed.
    """
    groups = width_groups(network)
    if not groups.groups:
        reasons = "; ".join(f"{note.site}: {note.reason}" for note in groups.frozen[:3]) or "it has no channels"
        raise InputError(f"No channel of this network can be removed ({reasons}); use another --method.")
    return groups


def best_channels(scores: Mapping[str, Tensor], widths: Widths) -> dict[str, list[int]]:
    """Return the most important channels of each group, ascending; of equal ones the first."""
    return {
        name: sorted(torch.argsort(score, descending=True, stable=True)[: widths[name]].tolist())
        for name, score in scores.items()
    }
