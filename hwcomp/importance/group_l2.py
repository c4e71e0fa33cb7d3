"""Norm of the weights relative to that of the layer's other channels."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwcomp.groups import WidthGroup
from hwcomp.importance._rows import making_weights, norms


def group_l2(module: nn.Module, group: WidthGroup, _gradients: Mapping[str, Tensor] | None) -> Tensor:
    r"""Return the norm of the weights that make each channel relative to its layer's mean, averaged over M members.

    .. math:: s_c = \frac{1}{M} \sum_m \frac{\| W^m_c \|_2}{\frac{1}{C} \sum_j \| W^m_j \|_2}

    So a layer with large weights, or with many, does not decide alone, and the mean of the scores is 1 in every group:
    they can be compared between groups. A layer that is zero everywhere adds nothing.
    """
    scores = []
    for member in making_weights(group):
        own = norms(module, member)
        mean = own.mean()
        scores.append(own / mean if mean > 0 else own)
    return torch.stack(scores).mean(0)
