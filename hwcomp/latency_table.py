"""The latency table of one network on one device: what the store has, and measured now what it lacks.

Measured rows are taken first. Where some are missing but a general profile of the device exists, its learned model
fills in whole operators, and stays only if it predicts whole runs well enough; otherwise the network's own kernels are
measured. Whole runs of random assignments then correct the sums of kernels, and tell the error.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from hwcomp.console import Stage
from hwcomp.correction import Run, corrected
from hwcomp.cost import CostTable
from hwcomp.cost_models.learned import Learned
from hwcomp.cost_models.lookup import Lookup
from hwcomp.design import random_assignments
from hwcomp.devices.base import Device
from hwcomp.learned_file import read_model
from hwcomp.profiling import is_exact, kernel_steps, profile_kernels, time_runs
from hwcomp.scheme import NARROW
from hwcomp.space import Assignment
from hwcomp.store import Observation, RunRow, Setting, Store
from hwcomp.subject import Subject

RUNS, EXACT_RUNS = 12, 4
DRAWS = 4
"""Random assignments that are drawn for each that is needed: in a small network many are equal."""

SLOWER = 1.2
"""Ratio of the float network's latency to its best at which the machine counts as disturbed."""

LEARNED_LIMIT = 0.15
"""Error of whole runs above which a learned table is not good enough to choose by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tabled:
    """A table, and how it came about.

    Attributes:
        table: in microseconds of a machine as fast as when the float network took ``float_us``.
        known: kernels that the store had.
        measured: kernels that were measured now.
        learned: sites whose entries a model predicts.
    """

    table: CostTable
    known: int
    measured: int
    learned: int

    def __str__(self) -> str:
        """Return in words where the entries come from and how far they can be trusted."""
        if self.learned:
            source = f"{self.known} kernels measured, {self.learned} operators predicted by the learned model"
        else:
            source = (
                f"{self.measured} kernels measured now" if self.measured else f"{self.known} kernels, all in the store"
            )
        return f"{source}, {trust(self.table)}"


def trust(table: CostTable) -> str:
    """Return in words how far the predictions of a table can be trusted."""
    error = f"+-{100 * table.error:.0f} %"
    return f"{error} on {table.held_out} held-out assignments" if table.held_out else error


def setting_of(device: Device, threads: int) -> Setting:
    """Return what latencies of a device are kept under."""
    facts = device.facts()
    return Setting(device=facts.fingerprint, runtime=facts.runtime, threads=threads)


@dataclass(frozen=True, kw_only=True)
class Tabulator:
    """Makes the table of one network on one device.

    Attributes:
        subject: the network.
        devices: where it is measured, all of one kind.
        store: what is known already, and where measurements go.
        threads: of the runtime.
        float_us: what the float network takes there now; None if only ratios to it matter.
        seed: of the random assignments.
        stage: shows progress, and the loss of a device.
    """

    subject: Subject
    devices: Sequence[Device]
    store: Store
    threads: int
    float_us: float | None
    seed: int
    stage: Stage

    def table(self, *, runs: int | None = None, allow_learned: bool = True) -> Tabled:
        """Return the table, corrected by ``runs`` whole runs, fewer where the machine was disturbed during some."""
        rows = self.store.kernels(self.setting, self.subject.kernels.keys).items()
        known = {key: row.median_us for key, row in rows if row.provenance == self.devices[0].provenance}
        timed = self._runs(runs or (EXACT_RUNS if is_exact(self.devices[0]) else RUNS))
        if not Lookup(rows=known).missing(self.subject.kernels):
            return Tabled(table=self._looked_up(known, timed), known=len(known), measured=0, learned=0)
        if allow_learned and (predicted := self._learned(known, timed)) is not None:
            learned = sum(source == "learned" for source in predicted.sources.values())
            return Tabled(table=predicted, known=len(known), measured=0, learned=learned)
        measured = self._profiled()
        return Tabled(table=self._looked_up(known | measured, timed), known=0, measured=len(measured), learned=0)

    @property
    def setting(self) -> Setting:
        """What the store keeps these latencies under."""
        return setting_of(self.devices[0], self.threads)

    def _looked_up(self, rows: dict[str, float], runs: Sequence[Run]) -> CostTable:
        model = Lookup(rows=rows, provenance=self.devices[0].provenance)
        raw = model.cost_table(self.subject.space, self.subject.kernels)
        return corrected(raw, self.subject.kernels, runs)

    def _learned(self, known: dict[str, float], runs: Sequence[Run]) -> CostTable | None:
        """Return the table of the learned model, or None where there is none or it is not good enough."""
        model = read_model(self.store.path, self.setting)
        if model is None:
            return None
        raw = Learned(model=model, measured=known).cost_table(self.subject.space, self.subject.kernels)
        table = corrected(raw, self.subject.kernels, runs)
        return table if table.error <= LEARNED_LIMIT else None

    def _profiled(self) -> dict[str, float]:
        """Measure the network's kernels in context, and keep them."""
        state = self.devices[0].state()
        with self.stage.bar("measuring kernels in context", total=kernel_steps(self.subject, self.devices[0])) as bar:
            rows = profile_kernels(self.subject, self.devices, self.threads, self.stage.note, bar.advance)
        self.store.add_kernels(self.setting, rows)
        self.store.observe(self.setting, Observation(governor=state.governor, clock_mhz=state.clock_mhz))
        return {row.kernel: row.median_us for row in rows}

    def _runs(self, count: int) -> list[Run]:
        """Return whole runs, timed now where the store lacks some, as they would be on a machine as fast as now."""
        rows = self._kept_runs()
        seen = [row.assignment for row in rows]
        missing = [assignment for assignment in self._drawn(count) if assignment not in seen]
        missing = missing[: max(0, count - len(rows))]
        if missing:
            with self.stage.bar("timing whole networks", total=len(missing)) as bar:
                for timed in time_runs(self.subject, self.devices, missing, self.threads, self.stage.note, bar.advance):
                    self.store.add_runs(self.setting, timed)
            rows = self._kept_runs()  # in the order of the store, so that the same runs give the same table
        rows = undisturbed(rows)
        float_us = self.float_us or median(row.control_us for row in rows)
        floats = Run(assignment=self.subject.space.everywhere(), latency_us=float_us)
        return [floats, *(as_run(row, float_us) for row in rows)]

    def _kept_runs(self) -> list[RunRow]:
        rows = self.store.runs(self.setting, self.subject.network)
        return [row for row in rows if row.provenance == self.devices[0].provenance]

    def _drawn(self, count: int) -> list[Assignment]:
        """Return different assignments, fewer if there are not so many; only the float network if there is no other."""
        generator = random.Random(self.seed)  # noqa: S311 - assignments, not secrets
        space, different = self.subject.space, list[Assignment]()
        for assignment in (space.everywhere(*NARROW), *random_assignments(space, DRAWS * count, generator)):
            if assignment != space.everywhere() and assignment not in different:
                different.append(assignment)
        return different[:count] or [space.everywhere()]


def undisturbed(rows: Sequence[RunRow]) -> list[RunRow]:
    """Return the runs of the machine's usual state, by their control; all of them if most are slower than the best.

    A machine whose cores are shared is up to twice as slow for a while, and not for all networks alike.
    """
    best_us = min((row.control_us for row in rows), default=0.0)
    usual = [row for row in rows if row.control_us <= SLOWER * best_us]
    return usual if len(usual) > len(rows) / 2 else list(rows)


def as_run(row: RunRow, float_us: float) -> Run:
    """Return a run as it would be on a machine on which the float network takes ``float_us``."""
    return Run(assignment=row.assignment, latency_us=row.median_us * float_us / row.control_us)
