"""Where a method takes part in the loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainState:
    """How far a training is, as hooks see it.

    Attributes:
        model: the network in training, itself: what a hook changes in its parameters stays.
        average: the moving average of its weights, or None; it is the result where there is one.
        step: steps that are done.
        epoch: epochs that are done; while one is under way, those before it.
        epochs: how many there will be, or None if time decides.
        progress: share of the training that is done, 0 to 1.
        rate: learning rate of the last step, as a number for the first group of parameters.
        loss: objective of the last step, without gradient; reading its value waits for the device.
    """

    model: nn.Module
    average: nn.Module | None
    step: int
    epoch: int
    epochs: int | None
    progress: float
    rate: float
    loss: Tensor

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """The networks that a hook must treat alike if it changes weights."""
        return (self.model,) if self.average is None else (self.model, self.average)


def _nothing(state: TrainState) -> None:
    """Do nothing."""


def _no_tensors() -> Mapping[str, Tensor]:
    return {}


def _no_values(state: TrainState) -> Mapping[str, float]:  # noqa: ARG001 - what a hook is called with
    return {}


def _forget(tensors: Mapping[str, Tensor]) -> None:
    """Take nothing back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """Functions of a method that the loop calls.

    Every process calls them, on equal weights and with equal random numbers.

    Attributes:
        after_step: after each step of the optimiser.
        after_epoch: after the last step of an epoch, before validation.
        save: gives the tensors that the method keeps outside of the network, for checkpoints.
        restore: takes them back.
        watch: gives numbers worth watching, name -> value, where somebody watches.
    """

    after_step: Callable[[TrainState], None] = _nothing
    after_epoch: Callable[[TrainState], None] = _nothing
    save: Callable[[], Mapping[str, Tensor]] = _no_tensors
    restore: Callable[[Mapping[str, Tensor]], None] = _forget
    watch: Callable[[TrainState], Mapping[str, float]] = _no_values
