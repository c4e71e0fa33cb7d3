"""What a latency term is: task loss and expected latency become one number to minimise."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from hwcomp.errors import InputError


class LatencyTerm(ABC):
    """Joins the task loss with the ratio of expected latency to budget.

    A dataclass whose fields are its options. Most have no state; those that adapt during the search give it as a
    tensor, so that it can be saved and restored.
    """

    __slots__ = ()

    @abstractmethod
    def total(self, task: Tensor, ratio: Tensor) -> Tensor:
        """Return the number to minimise, differentiable by both.

        Args:
            task: loss of the network, one number.
            ratio: expected latency over budget, one number; 1 where the budget is met exactly.
        """

    def update(self, ratio: float, share: float) -> None:  # noqa: B027 - most have nothing to adapt
        """Adapt to what a step ended with.

        Args:
            ratio: expected latency over budget, as it will be a few steps on if it goes on like that.
            share: of the whole search that the step was, so that short searches adapt as far as long ones.
        """

    def state(self) -> Tensor:
        """Return all that `update` has changed; empty where that is nothing."""
        return torch.zeros(0)

    def restore(self, state: Tensor) -> None:
        """Go on from a state.

        Raises:
            InputError: it is not the state of such a term.
        """
        own = self.state()
        if state.shape != own.shape:
            raise InputError(
                f"The state of {type(self).__name__} has shape {tuple(own.shape)}, found {tuple(state.shape)}; "
                "it was saved by another latency term."
            )
