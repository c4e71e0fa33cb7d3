"""The data that networks are trained on, and what is read off its first batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from hwcomp.data import is_read_once, train_batches
from hwcomp.importance import gather_gradients
from hwcomp.passes.recalibrate_batchnorm import RecalibrateBatchnorm
from hwcomp.program import Inputs, Program
from hwcomp.train import TrainData
from hwcomp.train.feed import Epoch
from hwcomp.train.seeds import untouched
from hwcomp.workload import Workload

GRADIENT_BATCHES = 8
"""Batches that the gradients of an importance are averaged over."""

STATISTICS_BATCHES = 16
"""Batches that the statistics of BatchNorm are taken from; [Yu2019]_ takes 5 of 1024 images."""


@dataclass(frozen=True, kw_only=True)
class RecoverySamples:
    """What networks are trained on.

    Attributes:
        workload: its training data and loss.
        seed: of the order of the data.
    """

    workload: Workload
    seed: int

    def data(self) -> TrainData:
        """Return the training data."""
        return TrainData(batches=lambda: train_batches(self.workload), example_inputs=self.workload.example_inputs)

    def check(self) -> None:
        """Make sure that there is something to train on, before anything is measured.

        Raises:
            InputError: the workload has no training data, or its first batch does not fit the model.
        """
        if not is_read_once(self.workload, "train_data", train_batches(self.workload)):
            self._batches(1)

    @property
    def has_labels(self) -> bool:
        """Whether the training data has targets; data that can be read only once is taken to have them."""
        if is_read_once(self.workload, "train_data", train_batches(self.workload)):
            return True
        return any(targets is not None for _, targets in self._batches(1))

    def recalibrated(self, network: Program) -> Program:
        """Return the network with statistics of BatchNorm of the training data."""
        batches = tuple(inputs for inputs, _ in self._batches(STATISTICS_BATCHES))
        return RecalibrateBatchnorm(batches=batches)(network).program

    def gradients(self, network: Program) -> Mapping[str, Tensor]:
        """Return the gradients of the loss by every parameter, a mean over some batches."""
        return gather_gradients(network.module, self._batches(GRADIENT_BATCHES), self.workload.loss)

    def _batches(self, count: int) -> list[tuple[Inputs, Any]]:
        """Return the first batches of the first epoch."""
        with untouched():
            first = Epoch(self.data(), self.seed, 0)
            return [(batch.inputs, batch.targets) for batch in islice(first, count)]
