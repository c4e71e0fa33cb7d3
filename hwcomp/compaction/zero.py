"""Sets channels to zero in place while a network trains on."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

import torch
from torch import Tensor, nn

from hwcomp.compaction.kept import check_groups, checked_removed
from hwcomp.groups import Groups

STATISTICS = ("running_mean", "running_var")


def zero_channels(
    module: nn.Module, groups: Groups, removed: Mapping[str, Sequence[int]], *, scales: bool = True
) -> None:
    """Set what makes and scales some channels to zero, in place; what reads them stays as it is.

    Weights, biases and the scales and shifts of normalisations are set; running statistics are not. The channels go on
    being trained and may grow again [He2018]_.

    Args:
        module: the program's module, or any copy of it.
        groups: of the program.
        removed: group name -> channels, ascending.
        scales: also of what scales the channels; where a normalisation is zero too, nothing grows again, since no
            gradient passes.

    Raises:
        InputError: an unknown group, or channels that are out of range, not ascending or given twice.
    """
    check_groups(module, groups)
    roles = {"makes", "scales"} if scales else {"makes"}
    chosen = {name: checked_removed(groups[name], channels) for name, channels in removed.items()}
    with torch.no_grad():
        for name, channels in chosen.items():
            for member in groups[name].members:
                if member.role not in roles or member.tensor in STATISTICS:
                    continue
                entries = [entry for channel in channels for entry in member.index[channel]]
                tensor: Tensor = attrgetter(member.path)(module)
                tensor.index_fill_(member.axis, torch.tensor(entries, device=tensor.device, dtype=torch.long), 0.0)
