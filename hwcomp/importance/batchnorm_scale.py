"""Scale that BatchNorm gives to a channel."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hwcomp.errors import InputError
from hwcomp.groups import WidthGroup
from hwcomp.importance._rows import channel_sums, tensor_of


def batchnorm_scale(module: nn.Module, group: WidthGroup, _gradients: Mapping[str, Tensor] | None) -> Tensor:
    r"""Return the absolute scale of each channel, averaged over the B BatchNorm layers of the group.

    .. math:: s_c = \frac{1}{B} \sum_b | \gamma^b_c |

    Where several entries of a BatchNorm are one channel, their scales are added. Source: [Liu2017]_, Learning efficient
    convolutional networks through network slimming.

    Raises:
        InputError: the group has no BatchNorm with a scale.
    """
    scales = [
        channel_sums(tensor_of(module, member).abs(), member)
        for member in group.members
        if member.tensor == "weight" and isinstance(module.get_submodule(member.module), _BatchNorm)
    ]
    if not scales:
        raise InputError(
            f"Group '{group.name}' has no BatchNorm with a scale; choose an importance that reads weights, such as l2."
        )
    return torch.stack(scales).mean(0)
