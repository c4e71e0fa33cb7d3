"""Makes the attributes of a module say what its smaller parameters and tensors are."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from hwcomp.groups.layers import is_depthwise

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CHANNEL_NORMS = (nn.modules.batchnorm._NormBase,)  # noqa: SLF001 - the one base of batch and instance norms


def resize(module: Any, source: Sequence[int], result: Sequence[int]) -> None:
    """Set the sizes of a module whose input and output have new shapes."""
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        channel = -1 - len(module.kernel_size)
        if is_depthwise(module):
            module.groups = source[channel]
        module.in_channels, module.out_channels = source[channel], result[channel]
    elif isinstance(module, nn.Linear):
        module.in_features, module.out_features = source[-1], result[-1]
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = result[-1]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.GroupNorm):
        if module.num_groups == module.num_channels:
            module.num_groups = source[1]
        module.num_channels = source[1]
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        module.normalized_shape = tuple(source[-len(module.normalized_shape) :])
    elif isinstance(module, CHANNEL_NORMS):
        spatial = int(type(module).__name__[-2]) if type(module).__name__.startswith("InstanceNorm") else None
        module.num_features = source[1] if spatial is None else source[-1 - spatial]
