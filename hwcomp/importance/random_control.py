"""Random scores: what every other importance must beat."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwcomp.groups import WidthGroup


def random_control(
    _module: nn.Module, group: WidthGroup, _gradients: Mapping[str, Tensor] | None, *, seed: int = 0
) -> Tensor:
    """Return numbers drawn evenly from [0, 1): the same for the same seed and group, in whatever order groups come."""
    digest = hashlib.sha256(f"{seed} {group.name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.rand(group.channels, generator=generator)
