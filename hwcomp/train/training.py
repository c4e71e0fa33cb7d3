"""train(): a network, data and an objective in; the trained network out."""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from hwcomp.console import Stage
from hwcomp.digests import model_digest
from hwcomp.errors import InputError
from hwcomp.train.checkpoint import CheckpointFile
from hwcomp.train.config import TrainConfig
from hwcomp.train.feed import AGAIN, TrainData, readable_once
from hwcomp.train.hooks import Hooks
from hwcomp.train.interrupts import deferred
from hwcomp.train.layout import lay_out_for_training
from hwcomp.train.loop import Parts, Run
from hwcomp.train.objective import Objective
from hwcomp.train.optimisers import OptimiserFactory, make_optimiser
from hwcomp.train.position import EpochRecord
from hwcomp.train.processes import Processes
from hwcomp.train.progress import Speaker
from hwcomp.train.seeds import untouched
from hwcomp.train.step import Stepper, make_scaler
from hwcomp.train.validation import Validation
from hwcomp.train.weights import Weights

NO_HOOKS = Hooks()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What came of a training.

    Attributes:
        model: the trained network, in eval mode on the CPU: the last, its moving average, or the best.
        epochs: that were done; one that time cut short counts.
        steps: that were done, in all.
        history: one record for each epoch.
        notes: sentences that were said on the way.
    """

    model: nn.Module
    epochs: int
    steps: int
    history: tuple[EpochRecord, ...]
    notes: tuple[str, ...]


def train(  # noqa: PLR0913 - each is a part that a method may bring
    model: nn.Module,
    data: TrainData,
    config: TrainConfig,
    *,
    objective: Objective,
    hooks: Hooks = NO_HOOKS,
    validation: Validation | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    stage: Stage | None = None,
    optimiser: OptimiserFactory | None = None,
) -> Trained:
    """Train a copy of a network.

    It runs on the GPU if there is one, and in several processes if ``accelerate launch`` or ``torchrun`` started them;
    each then takes its share of every batch. The first Ctrl-C ends it after the step under way: the checkpoint is
    written and KeyboardInterrupt raised. The same call with the same checkpoint goes on from there, bit for bit on a
    CPU. A training that is done leaves its checkpoint, so that the same call gives its result again.

    Args:
        model: not changed.
        data: what to train on.
        config: length, optimiser, schedule, precision and so on.
        objective: what is made smaller; see `task_objective`.
        hooks: of a method.
        validation: after each epoch; its metric is only recorded, unless ``config.keep`` is "best".
        checkpoint: file to write, and to go on from; None for none.
        key: names what else decides the result (the method and its options); a checkpoint of another key is not used.
        stage: where progress is shown; None for silence.
        optimiser: makes the optimiser of the copy, with its own groups and rates, which follow the schedule; None
            for that of the configuration.

    Raises:
        InputError: the data, the loss, the metric or an option cannot be used, or training diverged twice.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    _check(data, config, validation)
    processes = Processes()
    with untouched(), deferred() as pressed:
        copy = deepcopy(model).to(processes.device)
        processes.equalise(copy)
        lay_out_for_training(copy, config, processes.device, data.example_inputs)
        weights = _weights(copy, config, optimiser, processes, hooks)
        speaker = Speaker(stage if processes.main else None)
        belongs = {
            "key": key,
            "config": config.facts(),
            "model": model_digest(weights.model),
            "data": [data.name, data.steps, [list(x.shape) for x in data.example_inputs]],
            "optimiser": _description(weights.optimiser),
        }
        run = Run(
            Parts(
                config=config,
                data=data,
                weights=weights,
                stepper=Stepper(config, objective, weights, processes),
                hooks=hooks,
                validation=validation,
                processes=processes,
                file=CheckpointFile(checkpoint, belongs, speaker.tell),
                speaker=speaker,
                pressed=pressed,
            )
        )
        was_done = run.done
        while not run.done:
            run.epoch()
        if not was_done:
            run.save()
        processes.wait()
    position = run.position
    return Trained(
        model=run.result(),
        epochs=position.epoch,
        steps=position.step,
        history=tuple(position.history),
        notes=tuple(speaker.said),
    )


def _check(data: TrainData, config: TrainConfig, validation: Validation | None) -> None:
    batches: Any = data.batches
    if not callable(batches) and not hasattr(batches, "__iter__"):
        found = type(batches).__name__
        raise InputError(f"{data.name} is a {found}; give an iterable of batches, or a function that gives one.")
    if config.epochs != 1 and readable_once(data):
        raise InputError(f"{data.name} is an iterator, which can be read only once; {AGAIN}, or train for one epoch.")
    if config.keep == "best" and validation is None:
        raise InputError("The best model is known only with validation data; give some, or keep the last one.")


def _weights(
    model: nn.Module, config: TrainConfig, optimiser: OptimiserFactory | None, processes: Processes, hooks: Hooks
) -> Weights:
    made = make_optimiser(model, config) if optimiser is None else optimiser(model)
    return Weights(model, made, config.ema, make_scaler(config, processes.device), hooks)


def _description(optimiser: Optimizer) -> list[Any]:
    """Return what an optimiser is, for the digest: its class and the options and sizes of its groups."""
    groups = [
        {name: value if name != "params" else [list(p.shape) for p in value] for name, value in group.items()}
        for group in optimiser.param_groups
    ]
    return [type(optimiser).__name__, json.loads(json.dumps(groups, default=str))]
