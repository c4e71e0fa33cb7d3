"""The searchable node: one operator with its float weight, and the schemes it may compute in."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hwcomp.scheme import FLOAT


class Choice(nn.Module):
    """An operator whose scheme is not decided yet; it computes in float until `hwcomp.fix` decides.

    Attributes:
        op: the operator, with what the runtime fuses into it; its weight is the one that all candidates share.
        candidates: names of schemes, "float" first.
        logits: one number per candidate, for methods that search by gradient; shape (candidates,).
    """

    def __init__(self, op: nn.Module, candidates: Sequence[str]) -> None:
        super().__init__()
        if not candidates or candidates[0] != FLOAT:
            raise ValueError(f"The first candidate of a choice is '{FLOAT}', found {list(candidates)}")
        self.op = op
        self.candidates = tuple(candidates)
        self.logits = nn.Parameter(torch.zeros(len(candidates)))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the operator in float."""
        result: Tensor = self.op(*inputs)
        return result
