"""The stage "Widths": how the latency of a compilation's network depends on its widths."""

from contextlib import AbstractContextManager, nullcontext

from hwcomp.benches import device_for
from hwcomp.devices.base import Device
from hwcomp.groups import Groups
from hwcomp.job import Job
from hwcomp.known_tables import KnownTables
from hwcomp.space import Assignment
from hwcomp.stages import digest
from hwcomp.store import Store
from hwcomp.width_timing import DeviceTimer, KnownTimer, Timer, WidthTable, timings, width_table


def timed_widths(job: Job, groups: Groups, assignment: Assignment) -> WidthTable:
    """Return how the latency depends on the widths, timed now or in an earlier run.

    Args:
        job: the compilation.
        groups: of its network.
        assignment: schemes of the networks that are timed; sites that it does not name stay float.

    Raises:
        InputError: the device cannot be used.
    """
    stage = job.reporter.stage("Widths")
    device = device_for(job.target, job.config)
    place: AbstractContextManager[object] = nullcontext() if device is None else device
    with place:
        timer, where = timer_of(job, device, assignment)
        shapes = [[group.name, group.channels] for group in groups.groups]
        key = digest(str(job.network.module.code), shapes, where, dict(assignment), job.config.seed)

        def measure() -> dict[str, object]:
            with stage.bar("timing networks of other widths", total=timings(groups)) as bar:
                return width_table(job.network, groups, timer, job.config.seed, bar.advance).as_json()

        found = job.stages.has("widths", key)
        table = WidthTable.of_json(job.stages.json("widths", key, measure))
    stage.done(f"{len(groups.groups)} groups, {table}" + (", from an earlier run" if found else ""))
    return table


def timer_of(job: Job, device: Device | None, assignment: Assignment) -> tuple[Timer, list[object]]:
    """Return what times networks under an assignment, on a device or by what is known, and what that depends on."""
    if device is None:
        tables = KnownTables(target=job.target, store=Store(job.config.store), threads=job.config.threads)
        return KnownTimer(tables=tables, assignment=assignment), [job.target.model_dump_json()]
    timer = DeviceTimer(device=device, target=job.target, threads=job.threads, assignment=assignment)
    facts = device.facts()
    return timer, [facts.fingerprint, facts.runtime, job.threads]
