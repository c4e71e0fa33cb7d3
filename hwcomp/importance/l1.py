"""Sum of absolute weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwcomp.groups import WidthGroup
from hwcomp.importance._rows import channel_sums, making_weights, tensor_of


def l1(module: nn.Module, group: WidthGroup, _gradients: Mapping[str, Tensor] | None) -> Tensor:
    r"""Return the sum of the absolute weights that make each channel, over all members m of the group.

    .. math:: s_c = \sum_m \| W^m_c \|_1

    Source: [Li2017]_, Pruning filters for efficient convnets.
    """
    sums = [channel_sums(tensor_of(module, member).abs(), member) for member in making_weights(group)]
    return torch.stack(sums).sum(0)
