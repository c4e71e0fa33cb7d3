"""The searchable width of a group of channels, and what it does to the layers that read them.

A layer that reads a channel with weight zero computes as if the channel were not there. So a width acts on the columns
of the readers' weights alone: nothing is multiplied that is as large as a feature map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.supernet.rounding import call_with
from hwcomp.supernet.site import Site

PREFIX = "width:"
"""How the name of a site begins that chooses a width."""


class WidthSite(Site):
    r"""How many channels of a group stay: the most important ones.

    .. math:: g_c = \sum_k p_k [r_c < w_k]

    with the coefficients :math:`p` of the widths :math:`w`, and the ranks :math:`r` of the channels.

    Attributes:
        group: name of the width group.
        widths: ascending; the last is the full width.

    Args:
        group: see above.
        widths: see above.
        rank: of each channel, 0 for the one that goes last, (C,).

    Raises:
        InputError: the widths do not ascend to the full width, or the ranks are not 0 to C - 1, each once.
    """

    masks: Tensor

    def __init__(self, group: str, widths: Sequence[int], rank: Tensor) -> None:
        super().__init__(PREFIX + group, len(widths))
        self.group, self.widths = group, tuple(int(width) for width in widths)
        channels = len(rank)
        if list(self.widths) != sorted({*self.widths}) or self.widths[-1:] != (channels,) or self.widths[0] < 1:
            raise InputError(
                f"The widths of group '{group}' are {list(self.widths)}; give ascending ones from 1 on, of which the "
                f"last is its full width, {channels}."
            )
        if sorted(rank.tolist()) != list(range(channels)):
            raise InputError(f"The ranks of group '{group}' are not 0 to {channels - 1}, each once.")
        self.register_buffer("masks", (rank[:, None] < torch.tensor(self.widths)).float(), persistent=False)

    def gates(self) -> Tensor | None:
        """Return how much of each channel is there, (C,); None for all of it."""
        return None if self.coefficients is None else (self.masks * self.coefficients).sum(1)


class Gate(nn.Module):
    """What the widths of its inputs do to a layer's weight.

    Args:
        sites: of all groups that the layer reads.
        entries: for each entry along the axis, 0 if it always stays, else one more than its position among the channels
            of all these groups, one group after the other.
        axis: of the weight, along which the layer reads.
    """

    entries: Tensor

    def __init__(self, sites: Sequence[WidthSite], entries: Tensor, axis: int) -> None:
        super().__init__()
        self.sites, self.axis = nn.ModuleList(sites), axis
        self.register_buffer("entries", entries, persistent=False)

    @property
    def widths(self) -> list[WidthSite]:
        """The sites, in the order of the entries."""
        return [site for site in self.sites if isinstance(site, WidthSite)]

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, each entry along the axis times the gate of the channel that it reads."""
        found = [(site, site.gates()) for site in self.widths]
        if all(gates is None for _, gates in found):
            return weight
        parts = [gates if gates is not None else torch.ones_like(site.masks[:, 0]) for site, gates in found]
        every = torch.cat([torch.ones_like(parts[0][:1]), *parts])[self.entries].to(weight.dtype)
        return weight * every.view(-1, *[1] * (weight.ndim - 1 - self.axis))


class Gated(nn.Module):
    """An operator of whose inputs widths are searched, see `Gate`.

    Args:
        op: the operator, perhaps with what is fused into it.
        gate: of its weight.
        weight: name of the weight among the operator's parameters.
    """

    def __init__(self, op: nn.Module, gate: Gate, weight: str) -> None:
        super().__init__()
        self.op, self.gate, self.weight = op, gate, weight

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the operator with the gated weight."""
        return call_with(self.op, self.weight, self.gate(self.op.get_parameter(self.weight)), inputs)
