"""Training between and after the steps of a method, with the float original as the teacher."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from hwcomp.config import Shrinking
from hwcomp.console import Reporter
from hwcomp.data import is_read_once, joined_samples, train_batches
from hwcomp.digests import model_digest
from hwcomp.importance import gather_gradients
from hwcomp.passes.recalibrate_batchnorm import RecalibrateBatchnorm
from hwcomp.program import Inputs, Program
from hwcomp.search.board import Board
from hwcomp.search.same_graph import replaced
from hwcomp.stages import digest
from hwcomp.train import (
    EpochRecord,
    Hooks,
    Objective,
    Schedule,
    TrainConfig,
    TrainData,
    Trained,
    Validation,
    task_objective,
    train,
)
from hwcomp.train.feed import Epoch
from hwcomp.train.optimisers import OptimiserFactory
from hwcomp.train.seeds import untouched
from hwcomp.workload import Workload

GRADIENT_BATCHES = 8
"""Batches that the gradients of an importance are averaged over."""

STATISTICS_BATCHES = 16
"""Batches that the statistics of BatchNorm are taken from; [Yu2019]_ takes 5 of 1024 images."""

DEFAULT_EPOCHS = 10
"""Length of a training if the user gives neither epochs nor minutes."""

VALIDATION_BATCH = 250
"""Validation samples that the network sees at once."""

Goal = Mapping[str, object]
"""Names and values, as JSON takes them, that tell what a training works towards: widths, a latency, options."""


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How a network is trained.

    Attributes:
        workload: its data, loss and metric; its model is the teacher.
        validation: labelled samples that are shown after each epoch.
        options: of the user.
        folder: of checkpoints.
        seed: of everything random.
        reporter: shows progress.
        taught: whether the original teaches; not if training starts from fresh weights.
    """

    workload: Workload
    validation: list[tuple[Inputs, Any]]
    options: Shrinking
    folder: Path
    seed: int
    reporter: Reporter
    taught: bool = True

    def __call__(
        self,
        network: Program,
        method: str,
        *,
        goal: Goal | None = None,
        share: float = 1.0,
        rate: float = 0.02,
        decay_all: bool = False,
    ) -> tuple[Program, tuple[EpochRecord, ...]]:
        """Return the trained network and what happened in each epoch.

        Args:
            network: to train; it is not changed.
            method: and its step, for reports and checkpoints.
            goal: as JSON takes it: what the training works towards; a checkpoint of another goal is not used.
            share: of the epochs or minutes that the user gave.
            rate: learning rate, if the user gave none.
            decay_all: weights decay, and with it biases and normalisations too.

        Raises:
            InputError: there is no training data, or it cannot be used.
        """
        return self.run(network, method, self.config(share, rate, decay_all=decay_all), goal=goal)

    def run(  # noqa: PLR0913 - each is a part that a method may bring
        self,
        network: Program,
        method: str,
        config: TrainConfig,
        *,
        goal: Goal | None = None,
        objective: Objective | None = None,
        data: TrainData | None = None,
        hooks: Hooks | None = None,
        optimiser: OptimiserFactory | None = None,
        validation: bool = True,
    ) -> tuple[Program, tuple[EpochRecord, ...]]:
        """Return the trained network and what happened in each epoch, with parts that a method brings.

        Args:
            network: to train; it is not changed.
            method: and its step, for reports and checkpoints.
            config: of the training.
            goal: as JSON takes it: what the parts work towards; a checkpoint of another goal is not used.
            objective: in place of `objective`.
            data: in place of `data`.
            hooks: of the method.
            optimiser: makes the optimiser, see `hwcomp.train.train`.
            validation: look at the validation samples after each epoch.

        Raises:
            InputError: there is no training data, or it cannot be used.
        """
        stage, hooks = self.reporter.stage("Train"), hooks or Hooks()
        key = self._key(method, goal or {}, config)
        folder = self.options.tensorboard
        with nullcontext() if folder is None else Board(folder, method) as board:
            trained = train(
                network.module,
                data or self.data(),
                config,
                objective=objective or self.objective(config),
                hooks=hooks if board is None else board.watching(hooks),
                validation=self._validation() if validation else None,
                checkpoint=self.folder / f"{_digest_of(network)}-{key}.safetensors",
                key=key,
                stage=stage,
                optimiser=optimiser,
            )
            if board is not None:
                board.write_epochs(trained.history)
        stage.done(_described(trained, method))
        return replaced(network, trained.model), trained.history

    def objective(self, config: TrainConfig) -> Objective:
        """Return the loss of the workload, mixed with the distance from the original where that teaches."""
        return task_objective(self.workload.loss, self.workload.model if self.taught else None, config)

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

    def has_epochs(self, share: float) -> bool:
        """Return whether a share of the training is as long as an epoch, or a time."""
        return share > 0 and (self.options.minutes is not None or round(share * self.epochs) > 0)

    @property
    def epochs(self) -> int:
        """Epochs that the user gave, or the default."""
        return self.options.epochs or DEFAULT_EPOCHS

    def config(
        self,
        share: float = 1.0,
        rate: float = 0.02,
        *,
        clip: float | None = None,
        decay_all: bool = False,
        schedule: Schedule = "cosine",
    ) -> TrainConfig:
        """Return the configuration of a share of the training.

        Args:
            share: of the epochs or minutes that the user gave.
            rate: learning rate, if the user gave none.
            clip: largest norm of all gradients together, if the user gave none; None for no limit.
            decay_all: weights decay, and with it biases and normalisations too.
            schedule: of the learning rate.
        """
        epochs = None if self.options.minutes and not self.options.epochs else max(1, round(share * self.epochs))
        return TrainConfig(
            epochs=epochs,
            minutes=None if self.options.minutes is None else share * self.options.minutes,
            rate=self.options.learning_rate or rate,
            clip=self.options.clip or clip,
            decay_all=decay_all,
            schedule=schedule,
            precision=self.options.precision,
            seed=self.seed,
        )

    def _key(self, method: str, goal: Goal, config: TrainConfig) -> str:
        """Return a hash of what decides the result but the network itself."""
        teacher = model_digest(self.workload.model) if self.taught else None
        options = self.options.model_dump(exclude={"tensorboard"})
        return digest(method, options, dict(goal), config.facts(), teacher)

    def _batches(self, count: int) -> list[tuple[Inputs, Any]]:
        """Return the first batches of the first epoch."""
        with untouched():
            first = Epoch(self.data(), self.seed, 0)
            return [(batch.inputs, batch.targets) for batch in islice(first, count)]

    def _validation(self) -> Validation | None:
        if not self.validation:
            return None
        batches = joined_samples(self.validation, VALIDATION_BATCH)
        return Validation(batches=batches, metric=self.workload.metric)


def _digest_of(network: Program) -> str:
    return digest(model_digest(network.module), str(network.module.code))


def _described(trained: Trained, method: str) -> str:
    last = trained.history[-1]
    metric = "" if last.metric is None else f", metric on validation samples {last.metric:.2f}"
    epochs = "1 epoch" if trained.epochs == 1 else f"{trained.epochs} epochs"
    return f"{method}: {epochs}, {trained.steps} steps, loss {last.loss:.3f}{metric}"
