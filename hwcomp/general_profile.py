"""A general profile: kernels of random networks, more of the kinds that the learned model predicts worst.

It goes on until the model predicts kernels that it has not seen well enough, or the time is up. Every network's rows
are kept as they come, so an interrupted profile goes on where it was.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from hwcomp.conditions import Watch
from hwcomp.console import Reporter
from hwcomp.cost_models.learned import LearnedModel, fit, worst_families
from hwcomp.design import designed_assignments
from hwcomp.devices.base import Device
from hwcomp.devices.pool import share
from hwcomp.errors import DeviceError, DeviceMemoryError, InputError
from hwcomp.latency_table import setting_of
from hwcomp.learned_file import write_model
from hwcomp.profiling import News, is_exact, profile_kernels
from hwcomp.quick_subject import quick_subject
from hwcomp.sampling import MAX_MACS, Sample, draw_sample
from hwcomp.store import KernelRow, Observation, Store
from hwcomp.subject import Subject
from hwcomp.target import Target
from hwcomp.tracing import trace

MINUTES = 15.0
GOOD_ENOUGH = 0.9
"""Share of unseen kernels predicted within 10 % at which the profile is finished."""

GROWTH = 1.5
"""The model is fitted again when there are so many times more rows."""

EMULATED_MACS = 8_000_000
"""Of one kernel under emulation, which is slow; larger ones repeat what smaller ones execute."""

GPU_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
GPU_MACS = 8_000_000_000
"""Of one kernel on a GPU, over a batch: a layer of a large network at batch 64 has about so many."""

SHIFTS = (0, 2)
"""Patterns of conversions that are measured; with many networks, half of them show enough."""

FIRST_ROWS = 300
MAX_REPEATS = 2


@dataclass(frozen=True, kw_only=True)
class GeneralProfile:
    """What to measure, and where.

    Attributes:
        target: that networks are lowered for.
        devices: all of one kind; the work is shared out.
        store: where the rows go.
        threads: of the runtime.
        minutes: that it may take.
        seed: of the random networks.
        reporter: shows progress.
    """

    target: Target
    devices: Sequence[Device]
    store: Store
    threads: int
    minutes: float
    seed: int
    reporter: Reporter

    def run(self) -> LearnedModel:
        """Measure until the model is good enough or the time is up, and return the model, which is kept too.

        Raises:
            InputError: the time did not suffice for a model.
        """
        setting = setting_of(self.devices[0], self.threads)
        stage, start = self.reporter.stage("Profile"), time.monotonic()
        watch = Watch(self.devices[0], self.threads)
        for sentence in watch.check():
            stage.note(sentence)
        state = self.devices[0].state()
        self.store.observe(setting, Observation(governor=state.governor, clock_mhz=state.clock_mhz))
        model, networks, fitted_rows = None, 0, 0
        weights: Mapping[str, float] = {}
        with stage.bar("measuring random networks", total=1.0) as bar:
            while (spent := (time.monotonic() - start) / (60 * self.minutes)) < 1:
                bar.share(spent)
                networks += self._measure(weights, watch, stage.note)
                rows = self.store.all_kernels(setting)
                if len(rows) >= max(FIRST_ROWS, GROWTH * fitted_rows):
                    model, fitted_rows = fit(rows, self.seed, setting.device), len(rows)
                    weights = worst_families(model)
                    if model.held_out_within_10 >= GOOD_ENOUGH:
                        break
        rows = self.store.all_kernels(setting)
        if len(rows) < FIRST_ROWS:
            raise InputError(
                f"{len(rows)} kernels were measured in {self.minutes:g} minutes, too few for a model; they are kept: "
                "run the command again, with more --minutes."
            )
        model = model if model is not None and len(rows) == fitted_rows else fit(rows, self.seed, setting.device)
        path = write_model(self.store.path, setting, model)
        stage.done(
            f"{networks} networks, {len(rows)} kernels in the store; kernels that it has not seen: "
            f"{100 * model.held_out_within_10:.0f} % predicted within 10 %, "
            f"mean error {100 * model.held_out_error:.0f} % ({path.name})"
        )
        return model

    def _measure(self, weights: Mapping[str, float], watch: Watch, news: News) -> int:
        """Measure a random network on each device, keep their rows, and return how many networks it were."""
        setting = setting_of(self.devices[0], self.threads)
        known = len(self.store.all_kernels(setting))
        generator = random.Random(f"{self.seed} {known}")  # noqa: S311 - networks, not secrets
        torch.manual_seed(generator.randrange(2**31))
        samples = [self._draw(generator, weights) for _ in self.devices]

        def work(device: Device, sample: Sample) -> list[KernelRow]:
            try:
                return self._steady_rows(device, as_subject(sample, self.target), watch)
            except DeviceMemoryError as error:
                if sample.batch == 1:
                    raise
                news(f"{error} Now a batch of {sample.batch // 2}, after one of {sample.batch}.")
                return work(device, sample.of_batch(sample.batch // 2))
            except DeviceError:
                raise
            except InputError as error:  # this network cannot be measured there; the next one may
                news(str(error))
                return []

        for _, rows in share(self.devices, samples, work, news):
            self.store.add_kernels(setting, rows)
        return len(samples)

    def _draw(self, generator: random.Random, weights: Mapping[str, float]) -> Sample:
        """Return a random network; for a GPU with a batch of any size, as they are used there."""
        if is_exact(self.devices[0]):
            return draw_sample(generator, weights, EMULATED_MACS)
        if self.target.gpu is None:
            return draw_sample(generator, weights, MAX_MACS)
        batch = generator.choice(GPU_BATCHES)
        return draw_sample(generator, weights, min(MAX_MACS, GPU_MACS // batch)).of_batch(batch)

    def _steady_rows(self, device: Device, subject: Subject, watch: Watch) -> list[KernelRow]:
        """Return the rows of a network, measured again where the machine's speed changed meanwhile.

        They are those of a machine on which the control model takes what it took at first: between networks, too, the
        speed shifts.
        """
        designed, watched = designed_assignments(subject.space, SHIFTS), device is self.devices[0]
        for _ in range(MAX_REPEATS):
            before_us = watch.control_us
            rows = profile_kernels(subject, (device,), self.threads, lambda _: None, designed=designed)
            if is_exact(device) or not watched or watch.steady():
                break
        usual = 2 * watch.first_us / (before_us + watch.control_us) if watched else 1.0
        return [replace(scaled(row, usual), method="alone") for row in rows]


def scaled(row: KernelRow, factor: float) -> KernelRow:
    """Return the row of a machine that takes so many times as long."""
    return replace(row, median_us=factor * row.median_us, p10_us=factor * row.p10_us, p90_us=factor * row.p90_us)


def as_subject(sample: Sample, target: Target) -> Subject:
    """Return a random network as something to measure."""
    return quick_subject(trace(sample.model, sample.inputs), target)
