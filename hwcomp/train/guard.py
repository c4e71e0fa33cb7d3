"""Training that diverges is noticed, put back to the last good weights once, and stopped the second time."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.train.position import Position
from hwcomp.train.processes import Processes
from hwcomp.train.weights import Weights

CHECK_STEPS = 50
"""Losses are looked at in blocks: looking at each would make the host wait for the device in every step."""

KEEP_STEPS = 500
"""Good weights are copied every so many steps."""

LOWERED = 0.1
"""The learning rate after the first failure, as a factor: rates that diverge are seldom too high by a little."""


class Guard:
    """Looks at losses and weights from time to time; both must be finite.

    A gradient that is not finite shows in the weights, so it is noticed as well. In fp16 it does not: there the
    scaler leaves such steps out, which is how it finds its scale.
    """

    def __init__(self, weights: Weights, processes: Processes, position: Position, tell: Callable[[str], None]) -> None:
        self._weights, self._processes, self._position, self._tell = weights, processes, position, tell
        self._losses = torch.zeros(CHECK_STEPS, device=processes.device)
        self._sizes: list[int] = []
        self._good, self._good_step = weights.snapshot(), position.step

    def note(self, loss: Tensor, size: int) -> None:
        """Take the loss of a step, weighted by this process's share, and the size of the batch; look if it is time."""
        self._losses[len(self._sizes)] = loss
        self._sizes.append(size)
        if len(self._sizes) == CHECK_STEPS:
            self.look()

    def look(self) -> None:
        """Add the losses up; if they or the weights are not finite, go back to good weights and lower the rate.

        Raises:
            InputError: the rate was lowered before.
        """
        position, sizes = self._position, self._sizes
        losses = self._processes.summed(self._losses[: len(sizes)].clone()).tolist()
        self._sizes = []
        good = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(sizes))
        for loss, size in zip(losses[:good], sizes[:good], strict=True):
            position.loss_sum += loss * size
            position.samples += size
        if good < len(sizes):
            self._go_back(position.step - len(sizes) + good + 1)
        elif not self._weights.finite():
            self._go_back(position.step)

    def keep(self, every: int = KEEP_STEPS) -> None:
        """Look, and copy good weights if the last copy is old enough."""
        self.look()
        if self._position.step - self._good_step >= every:
            self._good, self._good_step = self._weights.snapshot(), self._position.step

    def _go_back(self, step: int) -> None:
        position = self._position
        where = (
            f"the loss or the weights became infinite or NaN at step {step} (epoch {position.epoch + 1}, "
            f"learning rate {position.rate:.3g})"
        )
        if position.lowered < 1:
            raise InputError(
                f"Training diverged again, though the learning rate was lowered once: {where}; try a lower rate, a "
                "warm-up or gradient clipping, and look for infinite values in the data and the loss."
            )
        self._weights.restore(self._good)
        position.lowered = LOWERED
        self._tell(
            f"Training diverged: {where}. It goes on from the weights of step {self._good_step}, at {LOWERED:g} times "
            "the rate."
        )
