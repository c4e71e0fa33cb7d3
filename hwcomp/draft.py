"""Networks timed before they are trained: of their weights only zeros change their speed, and those are there."""

from dataclasses import dataclass
from typing import Protocol

from hwcomp.attempt import Attempt
from hwcomp.benches import MeasuredBench
from hwcomp.config import Budget
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.job import Job
from hwcomp.known_tables import KnownTables
from hwcomp.program import Program
from hwcomp.quick_subject import quick_subject
from hwcomp.space import Assignment
from hwcomp.store import Store
from hwcomp.target import Target
from hwcomp.width_timing import KnownTimer, within

ROUNDS = 4
PLAIN, DRAFT = "plain", "draft"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drafted:
    """What a network takes.

    Attributes:
        latency_us: of a run.
        speedup: over the float network in the same rounds.
    """

    latency_us: float
    speedup: float

    def share_of(self, budget: Budget) -> float:
        """Return the latency by the one that the budget allows; above 1 it is missed."""
        return self.latency_us / budget.value if budget.kind == "latency" else budget.value / self.speedup


class Drafts(Protocol):
    """Tells what networks would take."""

    def __call__(self, network: Program, assignment: Assignment) -> Drafted:
        """Return what a network takes, as traced, under an assignment."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredDrafts:
    """Times them on a device, against the float network, in interleaved rounds.

    Attributes:
        device: where.
        target: that they are lowered for.
        threads: of the runtime.
        plain: the original float network, an ONNX file.
    """

    device: Device
    target: Target
    threads: int
    plain: bytes

    def __call__(self, network: Program, assignment: Assignment) -> Drafted:
        """Lower a network with ranges of one random input, and time it."""
        subject = quick_subject(network, self.target)
        models = {PLAIN: self.plain, DRAFT: subject.lower(within(subject.space, assignment))}
        timed = compare(self.device, models, subject.feed, self.threads, ROUNDS)
        return Drafted(latency_us=timed.measurement(DRAFT).median_us, speedup=timed.speedup(DRAFT))


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownDrafts:
    """Takes the best table that is known of a target that is not at hand.

    Attributes:
        tables: of the target.
        float_us: latency of the original float network by such a table.
    """

    tables: KnownTables
    float_us: float

    def __call__(self, network: Program, assignment: Assignment) -> Drafted:
        """Return the table's latency of a network."""
        _, latency_us = KnownTimer(tables=self.tables, assignment=assignment)(network)
        return Drafted(latency_us=latency_us, speedup=self.float_us / latency_us)


def drafts_of(job: Job, whole: Attempt) -> Drafts:
    """Return what times drafts of a compilation where its whole network was timed."""
    if isinstance(whole.bench, MeasuredBench):
        return MeasuredDrafts(
            device=whole.bench.device, target=job.target, threads=job.threads, plain=whole.prepared.plain
        )
    tables = KnownTables(target=job.target, store=Store(job.config.store), threads=job.config.threads)
    return KnownDrafts(tables=tables, float_us=whole.bench.float_us)
