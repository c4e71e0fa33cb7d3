"""How much the loss moves when a channel's weights go to zero, to first order."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwcomp.groups import WidthGroup
from hwcomp.importance._rows import channel_sums, making_weights, tensor_of

NEEDS_GRADIENTS = True


def taylor(module: nn.Module, group: WidthGroup, gradients: Mapping[str, Tensor] | None) -> Tensor:
    r"""Return the first-order change of the loss when all weights that make a channel become zero.

    .. math:: s_c = \Bigl| \sum_m \sum_{w \in W^m_c} w \frac{\partial L}{\partial w} \Bigr|

    Source: [Molchanov2019]_, Importance estimation for neural network pruning, which squares it; the order is the same.

    Args:
        module: the network.
        group: its channels.
        gradients: of the loss, by the path of the parameter, see `hwcomp.importance.gather_gradients`.
    """
    assert gradients is not None, "taylor needs gradients"
    changes = [
        channel_sums(tensor_of(module, member) * gradients[member.path], member) for member in making_weights(group)
    ]
    return torch.stack(changes).sum(0).abs()
