"""The networks whose precision is to be chosen: the one that was given, or smaller ones that a method makes of it.

A method is told what came of each network that it proposed, and proposes another one or ends.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Protocol

from hwcomp.benches import device_for
from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.data import search_data
from hwcomp.default_passes import default_passes
from hwcomp.design import INTEGERS
from hwcomp.errors import InputError
from hwcomp.groups import Groups
from hwcomp.importance import load_importance
from hwcomp.kernels import search_space
from hwcomp.known_tables import KnownTables
from hwcomp.macs import PRODUCTS, macs_of
from hwcomp.program import Program, run_passes
from hwcomp.search import asymptotic_soft_filter_pruning, latency_pruning, soft_filter_pruning, uniform_pruning
from hwcomp.search.recovery import Recovery
from hwcomp.search.shrink import Shrink, checked_groups
from hwcomp.search.shrunk import Shrunk, joined
from hwcomp.space import Assignment
from hwcomp.stages import Stages, digest
from hwcomp.store import Store
from hwcomp.target import Target
from hwcomp.train import EpochRecord
from hwcomp.width_timing import DeviceTimer, KnownTimer, WidthTable, timings, width_table
from hwcomp.workload import Workload

BY_RATE = {
    module.METHOD: (function, module.IMPORTANCE)
    for module, function in (
        (uniform_pruning, uniform_pruning.uniform_pruning),
        (soft_filter_pruning, soft_filter_pruning.soft_filter_pruning),
        (asymptotic_soft_filter_pruning, asymptotic_soft_filter_pruning.asymptotic_soft_filter_pruning),
    )
}
"""Methods that remove a share of the channels that the user gives, and the importance that they take."""

SOFT_IMPORTANCE = soft_filter_pruning.IMPORTANCE

MAX_PROPOSALS = 3
MARGIN = 0.97
"""Share of the latency that is asked for first: the table has an error, and precision is chosen anew."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One compilation: what is compiled, for what, how, and where results are kept and shown."""

    workload: Workload
    target: Target
    config: CompileConfig
    stages: Stages
    reporter: Reporter

    @property
    def threads(self) -> int:
        """Threads of the runtime."""
        return self.config.threads or self.target.hardware.cores


class Outcome(Protocol):
    """What came of a proposal."""

    @property
    def latency_us(self) -> float:
        """Latency of the compiled network."""
        ...

    @property
    def wanted_us(self) -> float:
        """Latency that meets the budget, by the float network's in the same rounds."""
        ...

    @property
    def assignment(self) -> Assignment:
        """The schemes that were chosen."""
        ...


Proposals = Generator[Shrunk, Outcome, None]


def proposals(job: Job, network: Program) -> Proposals:
    """Return the networks that the configured method proposes.

    Raises:
        InputError: the method cannot be used on this network, or lacks an option or data.
    """
    if job.config.method == "post_training":
        yield Shrunk(network=network, widths={})
    elif job.config.method == latency_pruning.METHOD:
        yield from _by_latency(job, network)
    else:
        yield _by_rate(job, network)


def _by_rate(job: Job, network: Program) -> Shrunk:
    method, importance = BY_RATE[job.config.method]
    groups = checked_groups(network)
    shrink = _shrink(job, network, groups, importance, 1)
    if shrink.importance.needs_gradients and importance == SOFT_IMPORTANCE:
        raise InputError(
            f"The importance '{shrink.importance.name}' needs gradients, which {job.config.method} does not gather "
            "after every epoch; use l1, l2, group_l2 or batchnorm_scale."
        )
    rate = shrink.rate  # a missing one is told before anything is measured
    shrink = replace(shrink, multiple=_table(job, network, groups, _integers(job, network)).multiple)
    return _described(job, shrink, method(shrink), f"rate {rate:g}")


def _by_latency(job: Job, network: Program) -> Proposals:
    if job.config.budget.kind == "fastest":
        raise InputError(f"{latency_pruning.METHOD} prunes until a budget is met; give --latency or --speedup.")
    groups = checked_groups(network)
    shrink = _shrink(job, network, groups, latency_pruning.IMPORTANCE, 1)
    shrink.recovery.check()
    outcome = yield Shrunk(network=network, widths={})
    table = _table(job, network, groups, outcome.assignment)
    shrink = whole = replace(shrink, multiple=table.multiple)
    widths = {group.name: group.channels for group in groups.groups}
    history: tuple[EpochRecord, ...] = ()
    for _ in range(MAX_PROPOSALS):
        limit_us = table.law(widths) * min(MARGIN, MARGIN * outcome.wanted_us / outcome.latency_us)
        shrunk = latency_pruning.latency_pruning(shrink, table.law, widths, limit_us)
        history = joined(history, shrunk.history)
        shrunk = replace(shrunk, history=history)
        outcome = yield _described(job, whole, shrunk, f"{limit_us / 1e3:.3g} ms by the table of widths")
        shrink, widths = shrink.of(shrunk.network), dict(shrunk.widths)


def _shrink(job: Job, network: Program, groups: Groups, importance: str, multiple: int) -> Shrink:
    config = job.config
    data = search_data(job.workload, config.calibration, config.seed)
    recovery = Recovery(
        workload=job.workload,
        validation=data.validation,
        options=config.shrinking,
        folder=job.stages.root / "training",
        seed=config.seed,
        reporter=job.reporter,
        taught=not config.shrinking.from_scratch,
    )
    recovery.check()
    return Shrink(
        network=network,
        groups=groups,
        importance=load_importance(config.shrinking.importance or importance, config.seed),
        recovery=recovery,
        multiple=multiple,
        options=config.shrinking,
    )


def _integers(job: Job, network: Program) -> Assignment:
    """Return the assignment of integers wherever the target has them."""
    return search_space(run_passes(network, default_passes(job.target))).everywhere(INTEGERS)


def _table(job: Job, network: Program, groups: Groups, assignment: Assignment) -> WidthTable:
    """Return how the latency depends on the widths, measured now or in an earlier run."""
    stage = job.reporter.stage("Widths")
    device = device_for(job.target, job.config)
    if device is not None:
        timer: DeviceTimer | KnownTimer = DeviceTimer(
            device=device, target=job.target, threads=job.threads, assignment=assignment
        )
        where = [device.facts().fingerprint, device.facts().runtime, job.threads]
    else:
        tables = KnownTables(target=job.target, store=Store(job.config.store), threads=job.config.threads)
        timer, where = KnownTimer(tables=tables, assignment=assignment), [job.target.model_dump_json()]
    shapes = [[group.name, group.channels] for group in groups.groups]
    key = digest(str(network.module.code), shapes, where, dict(assignment), job.config.seed)

    def measure() -> dict[str, object]:
        with stage.bar("timing networks of other widths", total=timings(groups)) as bar:
            return width_table(network, groups, timer, job.config.seed, bar.advance).as_json()

    found = job.stages.has("widths", key)
    table = WidthTable.of_json(job.stages.json("widths", key, measure))
    stage.done(f"{len(groups.groups)} groups, {table}" + (", from an earlier run" if found else ""))
    return table


def _described(job: Job, shrink: Shrink, shrunk: Shrunk, asked: str) -> Shrunk:
    """Return what a method gave with the notes that its report needs, after printing the most important one.

    Args:
        job: the compilation.
        shrink: the original network.
        shrunk: what a method made of it.
        asked: of the method.
    """
    network, groups, multiple = shrink.network, shrink.groups, shrink.multiple
    before, after = macs_of(network, PRODUCTS), macs_of(shrunk.network, PRODUCTS)
    whole = sum(shrunk.widths.get(group.name, group.channels) == group.channels for group in groups.groups)
    saved = (
        f"{job.config.method}, {asked}: {100 * (1 - after / max(before, 1)):.1f} % of the multiply-accumulates "
        f"and channels of {len(groups.groups) - whole} of {len(groups.groups)} groups removed"
    )
    job.reporter.stage("Shrink").done(saved)
    narrow = [group.name for group in groups.groups if 1 < group.channels <= multiple]
    told = []
    if narrow:
        told.append(f"{', '.join(narrow)}: kept whole, not wider than one fast block of {multiple} channels")
    if job.workload.validation_data is None and shrunk.history:
        told.append(
            "The validation samples are some of train_data, and may have been trained on if it is shuffled; "
            "validation_data() gives others."
        )
    frozen = [f"{note.site}: its channels stay: {note.reason}" for note in groups.frozen]
    channels = {group.name: group.channels for group in groups.groups}
    return replace(shrunk, channels=channels, notes=(saved, *shrunk.notes, *told, *frozen))
