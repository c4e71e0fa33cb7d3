"""What every site of a supernet has, whatever is chosen there."""

from typing import Any

import torch
from torch import Tensor, nn


class Site(nn.Module):
    """A place where one of several candidates is chosen.

    Attributes:
        name: of the node, or "width:" and the name of a width group.
        logits: one number per candidate, (candidates,).
        coefficients: what the next forward mixes the candidates with, (candidates,); None for the network as it is.
    """

    def __init__(self, name: str, candidates: int) -> None:
        super().__init__()
        self.name = name
        self.logits = nn.Parameter(torch.zeros(candidates))
        self.coefficients: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies are made of: the coefficients without the graph that they belong to."""
        given = self.coefficients
        return {**self.__dict__, "coefficients": None if given is None else given.detach()}
