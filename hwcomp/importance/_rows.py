"""The numbers in a network that belong to each channel of a group."""

from operator import attrgetter

import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.groups import Member, WidthGroup


def tensor_of(module: nn.Module, member: Member) -> Tensor:
    """Return the parameter that a member is a part of."""
    tensor: Tensor = attrgetter(member.path)(module)
    return tensor.detach()


def making_weights(group: WidthGroup) -> tuple[Member, ...]:
    """Return the weights whose rows make a group's channels: convolutions, linear layers, embeddings; no biases.

    Raises:
        InputError: there are none.
    """
    found = tuple(member for member in group.members if member.role == "makes" and member.tensor != "bias")
    if not found:
        raise InputError(f"No weights make the channels of group '{group.name}'; choose an importance that needs none.")
    return found


def channel_sums(values: Tensor, member: Member) -> Tensor:
    """Add up values in the shape of a member's tensor over all that belongs to each channel.

    Args:
        values: one for each number of the tensor.
        member: says which entries of its axis are which channel's.

    Returns:
        (C,), one sum per channel.
    """
    rows = values.movedim(member.axis, 0)
    per_entry = rows.reshape(rows.shape[0], -1).sum(1)
    channels = [channel for channel, entries in enumerate(member.index) for _ in entries]
    entries = [entry for own in member.index for entry in own]
    sums = per_entry.new_zeros(len(member.index))
    owners = torch.tensor(channels, dtype=torch.long, device=values.device)
    return sums.index_add(0, owners, per_entry[entries])


def norms(module: nn.Module, member: Member) -> Tensor:
    """Return the Euclidean norm of each channel's numbers in a member, (C,)."""
    return channel_sums(tensor_of(module, member).square(), member).sqrt()
