"""Training between and after the steps of a method, with the float original as the teacher."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwcomp.console import Reporter
from hwcomp.data import joined_samples
from hwcomp.digests import model_digest
from hwcomp.program import Inputs, Program
from hwcomp.search.board import Board
from hwcomp.search.recovery_samples import RecoverySamples
from hwcomp.search.recovery_settings import RecoverySettings
from hwcomp.search.same_graph import replaced
from hwcomp.stages import digest
from hwcomp.train import (
    EpochRecord,
    Hooks,
    Objective,
    TrainConfig,
    TrainData,
    Trained,
    Validation,
    task_objective,
    train,
)
from hwcomp.train.optimisers import OptimiserFactory

VALIDATION_BATCH = 250
"""Validation samples that the network sees at once."""

Goal = Mapping[str, object]
"""Names and values, as JSON takes them, that tell what a training works towards: widths, a latency, options."""


@dataclass(frozen=True, kw_only=True)
class Recovery(RecoverySamples, RecoverySettings):
    """How a network is trained.

    Attributes:
        workload: its data, loss and metric; its model is the teacher.
        options: of the user.
        seed: of everything random.
        validation: labelled samples that are shown after each epoch.
        folder: of checkpoints.
        reporter: shows progress.
        taught: whether the original teaches; not if training starts from fresh weights.
    """

    validation: list[tuple[Inputs, Any]]
    folder: Path
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

    def _key(self, method: str, goal: Goal, config: TrainConfig) -> str:
        """Return a hash of what decides the result but the network itself."""
        teacher = model_digest(self.workload.model) if self.taught else None
        options = self.options.model_dump(exclude={"tensorboard"})
        return digest(method, options, dict(goal), config.facts(), teacher)

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
