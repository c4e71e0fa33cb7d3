"""Norm of the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwcomp.groups import WidthGroup
from hwcomp.importance._rows import making_weights, norms


def l2(module: nn.Module, group: WidthGroup, _gradients: Mapping[str, Tensor] | None) -> Tensor:
    r"""Return the sum of the norms of the weights that make each channel, over all members m of the group.

    .. math:: s_c = \sum_m \| W^m_c \|_2

    Source: [He2018]_, Soft filter pruning for accelerating deep convolutional neural networks; the sum over layers that
    must be pruned together is ours.
    """
    return torch.stack([norms(module, member) for member in making_weights(group)]).sum(0)
