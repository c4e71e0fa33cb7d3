"""What width groups are: channels that can only be removed together, and where each of them lives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwcomp.errors import InputError
from hwcomp.program import Note

Ids = NDArray[np.int64]
Role = Literal["makes", "scales", "reads"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """The part of a group in one axis of one parameter or buffer.

    Attributes:
        module: path of the module; of a bare parameter, the path of the parameter itself.
        tensor: "weight", "bias", "running_mean", ...; empty for a bare parameter.
        axis: the axis that gets shorter.
        index: for each channel of the group, the entries along the axis that are its own.
        role: "makes" for rows of a weight and its bias, "scales" for what works on each channel alone,
            "reads" for columns of a consumer's weight.
    """

    module: str
    tensor: str
    axis: int
    index: tuple[tuple[int, ...], ...]
    role: Role

    @property
    def path(self) -> str:
        """The path of the parameter or buffer in the module."""
        return f"{self.module}.{self.tensor}" if self.tensor else self.module


@dataclass(frozen=True, kw_only=True, slots=True)
class WidthGroup:
    """Channels that may each be removed alone, in all members at once.

    Attributes:
        name: the node that makes the channels first.
        channels: how many there are.
        members: where they live.
    """

    name: str
    channels: int
    members: tuple[Member, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """All width groups of a program.

    Attributes:
        groups: in the order in which the program makes them.
        frozen: what cannot be pruned, with the reason.
        values: for each node its shadow, a tensor of channel ids in its shape (or what it holds instead).
        axes: (path of a parameter, axis) -> channel ids of its entries.
        units: channel id -> number of the removable unit, -1 for what stays; channel ``c`` of group ``g`` is the
            unit ``c`` plus the channels of all groups before ``g``.
    """

    groups: tuple[WidthGroup, ...]
    frozen: tuple[Note, ...]
    values: Mapping[str, Any] = field(repr=False)
    axes: Mapping[tuple[str, int], Ids] = field(repr=False)
    units: Ids = field(repr=False)

    def __getitem__(self, name: str) -> WidthGroup:
        """Return the group of a name.

        Raises:
            InputError: there is none.
        """
        for group in self.groups:
            if group.name == name:
                return group
        known = ", ".join(group.name for group in self.groups) or "none"
        raise InputError(f"There is no width group {name!r}; take one of: {known}.")
