"""Measures a network on a device: its kernels in the context of the whole, and whole runs of assignments.

A handful of whole-network assignments are run with the runtime's profiler (`hwcomp.design`). Rounds are interleaved;
each assignment counts by its fastest round, since everything that disturbs a measurement makes it slower; the spread
over the rounds is kept beside it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

import numpy as np

from hwcomp.design import CONTROL, designed_assignments
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.devices.pool import share
from hwcomp.entries import as_profile, kernel_us
from hwcomp.lowering.onnxruntime import Owner
from hwcomp.measurement import Comparison
from hwcomp.space import Assignment
from hwcomp.store import KernelRow, RunRow, now
from hwcomp.subject import Subject

KERNEL_ROUNDS = 3
RUN_ROUNDS, MAX_RUN_ROUNDS = 2, 5
STEADY = 0.05
"""Relative spread of an assignment's ratio to the float network that is still taken as one value."""

TOGETHER = 3
"""Assignments that share the rounds of one control."""

NOTHING_US = 1e-3
"""What a kernel that the runtime optimised away is said to take: the store knows no zero."""

Advance = Callable[[], None]
News = Callable[[str], None]
Designed = Mapping[str, Mapping[str, str]]


def kernel_steps(subject: Subject, device: Device) -> int:
    """Return how often `profile_kernels` calls ``advance`` for all designed assignments."""
    return len(designed_assignments(subject.space)) * _rounds(device)


def profile_kernels(
    subject: Subject,
    devices: Sequence[Device],
    threads: int,
    news: News,
    advance: Advance = lambda: None,
    designed: Designed | None = None,
) -> list[KernelRow]:
    """Return the latency of every kernel that the designed assignments run, seen in the context of the whole.

    Args:
        subject: the network.
        devices: of one kind; the work is shared out.
        threads: of the runtime.
        news: is told when a device is lost.
        advance: called after each assignment and round.
        designed: name -> assignment, one of them the control; all of `hwcomp.design` if None.
    """
    designed = designed_assignments(subject.space) if designed is None else designed
    models = {name: subject.lower(assignment) for name, assignment in designed.items()}
    first = devices[0]
    latency_us = median(first.time_block(models[CONTROL], subject.feed, threads))

    def work(device: Device, task: tuple[int, str]) -> Mapping[Owner, float]:
        return device.profile(models[task[1]], subject.feed, threads, latency_us)

    tasks: list[tuple[int, str]] = []
    for index in range(_rounds(first)):
        tasks += [(index, name) for name in (list(designed) if index % 2 == 0 else list(designed)[::-1])]
    times: dict[tuple[int, str], Mapping[Owner, float]] = {}
    for task, found in share(devices, tasks, work, news):
        times[task] = found
        advance()
    rounds = [
        [as_profile(name, designed[name], times[index, name]) for name in designed] for index in range(_rounds(first))
    ]
    best = [min(profiles, key=lambda profile: profile.total_us) for profiles in zip(*rounds, strict=True)]
    rows = _rows(kernel_us(best, subject), [kernel_us(profiles, subject) for profiles in rounds], first)
    return [*rows, *_launch_rows(first)]


def _launch_rows(device: Device) -> list[KernelRow]:
    """Return the row of what launching costs, where that is an entry of its own."""
    return _rows(device.launches_us(), [], device)


def _rows(best: Mapping[str, float], rounds: Sequence[Mapping[str, float]], device: Device) -> list[KernelRow]:
    rows = []
    for kernel, us in best.items():
        value = max(us, NOTHING_US)
        spread = [max(times.get(kernel, us), NOTHING_US) for times in rounds] or [value]
        p10, p90 = np.percentile(spread, [10, 90]).tolist()
        rows.append(
            KernelRow(
                kernel=kernel,
                method="network",
                median_us=value,
                p10_us=min(p10, value),
                p90_us=max(p90, value),
                runs=max(1, len(rounds)),
                date=now(),
                provenance=device.provenance,
            )
        )
    return rows


def time_runs(
    subject: Subject,
    devices: Sequence[Device],
    assignments: Sequence[Assignment],
    threads: int,
    news: News,
    advance: Advance = lambda: None,
) -> Iterator[list[RunRow]]:
    """Time whole runs of assignments against the float network, some at a time; ``advance`` is called once for each.

    Rounds are added while an assignment's ratio to the float network is not steady: the machine's speed changed.
    """
    control = subject.lower(subject.space.everywhere())

    def work(device: Device, task: int) -> list[RunRow]:
        some = assignments[task : task + TOGETHER]
        models = {CONTROL: control} | {str(i): subject.lower(assignment) for i, assignment in enumerate(some)}
        timed = compare(device, models, subject.feed, threads, 1 if is_exact(device) else RUN_ROUNDS)
        while not is_exact(device) and not _steady(timed) and len(timed.blocks_us[CONTROL]) < MAX_RUN_ROUNDS:
            timed = timed.joined(compare(device, models, subject.feed, threads, 1))
        return [_run_row(subject, assignment, timed, str(i), device) for i, assignment in enumerate(some)]

    for _, rows in share(devices, range(0, len(assignments), TOGETHER), work, news):
        for _ in rows:
            advance()
        yield rows


def _steady(timed: Comparison) -> bool:
    names = [name for name in timed.blocks_us if name != CONTROL]
    return all(_spread(timed.ratios(name)) < STEADY for name in names)


def _spread(ratios: Sequence[float]) -> float:
    """Return the relative distance of the two middle values: with outliers in further rounds they come closer."""
    ordered = sorted(ratios)
    middle = len(ordered) // 2
    low, high = ordered[middle - 1], ordered[middle] if len(ordered) % 2 == 0 else ordered[middle + 1]
    return (high - low) / low


def _run_row(subject: Subject, assignment: Assignment, timed: Comparison, name: str, device: Device) -> RunRow:
    measured, control_us = timed.measurement(name), timed.measurement(CONTROL).median_us
    # the claim is the ratio within rounds; the latency is that of a machine as fast as in the control's median round
    scale = control_us / timed.speedup(name) / measured.median_us
    return RunRow(
        network=subject.network,
        assignment=dict(assignment),
        median_us=measured.median_us * scale,
        p10_us=measured.p10_us * scale,
        p90_us=measured.p90_us * scale,
        runs=measured.runs,
        date=now(),
        provenance=device.provenance,
        control_us=control_us,
    )


def is_exact(device: Device) -> bool:
    """Return whether a device counts instead of timing, so that repeating it tells nothing."""
    return device.provenance == "simulated"


def _rounds(device: Device) -> int:
    return 1 if is_exact(device) else KERNEL_ROUNDS
