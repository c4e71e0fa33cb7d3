"""The one training loop: steps, epochs, and what happens between them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.train.checkpoint import Checkpoint, CheckpointFile
from hwcomp.train.config import TrainConfig
from hwcomp.train.digest import batch_digest
from hwcomp.train.feed import Batch, TrainData
from hwcomp.train.guard import CHECK_STEPS, KEEP_STEPS, Guard
from hwcomp.train.hooks import Hooks, TrainState
from hwcomp.train.interrupts import Pressed
from hwcomp.train.layout import lay_out_as_usual
from hwcomp.train.position import Position
from hwcomp.train.processes import Processes
from hwcomp.train.progress import Speaker
from hwcomp.train.reader import Reader
from hwcomp.train.seeds import seed_all
from hwcomp.train.step import Stepper
from hwcomp.train.timetable import Between, Timetable
from hwcomp.train.validation import Validation, validate
from hwcomp.train.weights import Snapshot, Weights, copied, named_tensors, put_back, under


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a run is made of."""

    config: TrainConfig
    data: TrainData
    weights: Weights
    stepper: Stepper
    hooks: Hooks
    validation: Validation | None
    processes: Processes
    file: CheckpointFile
    speaker: Speaker
    pressed: Pressed


class Run:
    """A training under way; it begins at its checkpoint if it has one."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.position = Position()
        self._best: dict[str, Tensor] = {}
        self._resume()
        self._guard = Guard(parts.weights, parts.processes, self.position, parts.speaker.tell)
        self._timetable = Timetable(parts.config, self.position, parts.processes)
        self._reader = Reader(parts.data, parts.config, self.position, parts.speaker, parts.pressed)
        self._last: Batch | None = None

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or the time is over."""
        return self._timetable.done

    def epoch(self) -> None:
        """Do an epoch, or what is left of it."""
        parts, position = self.parts, self.position
        batches, length = self._reader.open()
        self._timetable.begin_epoch(length)
        parts.weights.model.train()
        with parts.speaker.epoch(position, parts.config.epochs) as bar:
            while not self._timetable.late and (batch := self._next(batches)) is not None:
                self._step(batch)
                bar.share(self._timetable.share(position.step))
                self._act(self._timetable.between(parts.pressed))
        self._guard.keep(every=CHECK_STEPS)
        parts.processes.average_buffers(parts.weights.models)
        seed_all(parts.config.seed, "epoch", position.epoch)
        parts.hooks.after_epoch(self._state(torch.tensor(position.loss), position.epoch + 1))
        metric = self._validate()
        found = self._timetable.read(parts.pressed)
        position.next_epoch(metric)
        self._last = None
        self._act(found)

    def save(self) -> None:
        """Write the checkpoint."""
        parts, position = self.parts, self.position
        if parts.file.path is None:
            return
        self._guard.look()
        parts.processes.average_buffers(parts.weights.models)
        self._timetable.saved()
        if not parts.processes.main:
            return
        if self._last is not None:
            position.last_batch = batch_digest(self._last.inputs, self._last.targets)
        kept = parts.weights.snapshot()
        tensors = {**kept.tensors, **{f"best.{name}": x for name, x in self._best.items()}}
        facts = {"position": position.facts(), "plain": kept.plain, "said": parts.speaker.said}
        parts.file.write(Checkpoint(tensors=tensors, facts=facts))

    def result(self) -> nn.Module:
        """Return the network that came of it, on the CPU and in the usual layout."""
        model = self.parts.weights.result
        if self._best:
            put_back(model, self._best)
        model.zero_grad()
        lay_out_as_usual(model)
        return model.cpu().eval()

    def _resume(self) -> None:
        parts = self.parts
        found = parts.file.read()
        if not parts.processes.all_have(found) or found is None:
            return
        self.position = Position.of(found.facts["position"])
        parts.weights.restore(Snapshot(tensors=found.tensors, plain=found.facts["plain"]))
        self._best = under(found.tensors, "best.")
        parts.speaker.said[:0] = found.facts["said"]

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        try:
            return next(batches, None)
        except InputError:
            if self.parts.pressed.once:  # Ctrl-C reaches a loader's own processes too
                self.save()
                raise KeyboardInterrupt from None
            raise

    def _step(self, batch: Batch) -> None:
        parts, position = self.parts, self.position
        seed_all(parts.config.seed, "step", position.step, parts.processes.rank)
        factor = self._timetable.factor()
        loss = parts.stepper.step(batch, factor)
        position.rate = parts.stepper.rate(factor)
        position.step, position.batch, self._last = position.step + 1, position.batch + 1, batch
        if position.batch == 1 and parts.file.path is not None:
            position.first_batch = batch_digest(batch.inputs, batch.targets)
        parts.hooks.after_step(self._state(loss, position.epoch))
        self._guard.note(loss, batch.size)
        if position.step % KEEP_STEPS == 0:
            self._guard.keep()

    def _act(self, found: Between | None) -> None:
        if found is not None and (found.save or found.stop):
            self.save()
        if found is not None and found.stop:
            raise KeyboardInterrupt

    def _state(self, loss: Tensor, epoch: int) -> TrainState:
        weights, position = self.parts.weights, self.position
        return TrainState(
            model=weights.model,
            average=weights.average,
            step=position.step,
            epoch=epoch,
            epochs=self.parts.config.epochs,
            progress=self._timetable.share(position.step),
            rate=position.rate,
            loss=loss,
        )

    def _validate(self) -> float | None:
        parts, position = self.parts, self.position
        if parts.validation is None:
            return None
        metric = validate(parts.weights.result, parts.validation, parts.processes)
        if parts.config.keep == "best" and (position.best is None or metric > position.best):
            position.best, self._best = metric, copied(named_tensors(parts.weights.result))
        return metric
