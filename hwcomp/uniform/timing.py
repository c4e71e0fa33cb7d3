"""How long the versions of a network take, in turn on a device or as predicted, and which of them is taken."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.errors import DeviceError, DeviceLost, DeviceThrottled, HwcompError, LoweringError
from hwcomp.job import Job
from hwcomp.measurement import Comparison, Measurement, estimated
from hwcomp.uniform.judging import Judge, Judged, take
from hwcomp.uniform.predicting import NO_TABLE, Predictor
from hwcomp.uniform.versions import Version, Versions, captured

ROUNDS = 8
BASELINE = "baseline"

NEAR_TIE, NEAR_TIE_ON_PAPER = 1.03, 1.25
"""How many times longer one version may take than another to count as equally fast: measured, and by the roofline."""

GONE = (DeviceLost, DeviceThrottled)
"""What concerns the device, and not one version: no other can be measured there either."""

WORTH_A_GRAPH = 1.02
"""Speed-up from which on kernels are started as a CUDA graph, which holds inputs and outputs in place."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """How long the float network takes, and the version that was taken.

    Attributes:
        version: that was taken.
        baseline: latency of the float network.
        compiled: latency of the version.
        predicted_us: see `hwcomp.uniform.predicting`; what was found itself where nothing is predicted.
        error: of the prediction, relative.
        distance: of the version's outputs from the float network's, relative; None where it was not run.
        ratios: speed-up in each round; empty if nothing was measured.
        judged: all versions that were compared.
        refused: name of a version that could not be compared -> why.
        notes: what is to be known of it.
    """

    version: Version
    baseline: Measurement
    compiled: Measurement
    predicted_us: float
    error: float
    distance: float | None
    ratios: Sequence[float]
    judged: Sequence[Judged]
    refused: dict[str, str]
    notes: Sequence[str]

    @property
    def speedup(self) -> float:
        """How many times faster the version is."""
        return float(np.median(self.ratios)) if self.ratios else self.baseline.median_us / self.compiled.median_us


def estimate(job: Job, predictor: Predictor, made: Versions, judge: Judge) -> Timed:
    """Return the version that is predicted to be the fastest, of those that are accurate enough here.

    Args:
        job: the compilation.
        predictor: of latencies.
        made: the versions.
        judge: of what they compute.
    """
    told = [predictor.predicted_us(version) for version in made.offered]
    if not any(told):
        predictor = predictor.on_paper()
        told = [predictor.predicted_us(version) for version in made.offered]
    baseline_us, error = _known(predictor, made.baseline)
    found, refused = [], dict(made.refused)
    for version, predicted in zip(made.offered, told, strict=True):
        if predicted is None:
            refused[version.name] = NO_TABLE
            continue
        latency_us, _ = predicted
        speedup, moved = baseline_us / latency_us, judge.moved_here(version)
        found.append(Judged(version=version, latency_us=latency_us, speedup=speedup, distance=moved))
    is_on_paper = predictor.provenance == "analytic"
    taken, judged = take(found, judge, NEAR_TIE_ON_PAPER if is_on_paper else NEAR_TIE)
    elsewhere = "emulated" if job.target.gpu is None else "local, beside such a GPU,"
    note = (
        f"No version was run on the target: all latencies are {predictor.source}; give --device ssh://... or --device "
        f"{elsewhere} to learn more."
    )
    return Timed(
        version=taken.version,
        baseline=estimated(baseline_us, job.threads, predictor.provenance),
        compiled=estimated(taken.latency_us, job.threads, predictor.provenance),
        predicted_us=taken.latency_us,
        error=error,
        distance=taken.distance,
        ratios=[],
        judged=judged,
        refused=refused,
        notes=[note, *made.notes, *taken.version.notes],
    )


def _known(predictor: Predictor, version: Version) -> tuple[float, float]:
    """Return the prediction of a float network, of which every table knows something."""
    predicted = predictor.predicted_us(version)
    assert predicted is not None
    return predicted


def measure(job: Job, predictor: Predictor, device: Device, made: Versions, judge: Judge) -> Timed:
    """Time all versions in turn, and return the fastest of those that are accurate enough.

    Raises:
        LoweringError: the device can run none of them.
    """
    moved, refused = _runnable(device, made, judge)
    offered = [version for version in made.offered if version.name in moved]
    compared = _compared(job, device, made.baseline, offered, judge)
    found = [_judged(version, compared, moved[version.name]) for version in offered]
    taken, judged = take(found, judge, NEAR_TIE)
    graph, again = _captured(job, device, made.baseline, taken, judge, refused)
    if graph is not None and again is not None:
        anew = replace(_judged(taken.version, again, moved[taken.version.name]), drop=taken.drop)
        compared, judged = again, [graph, *(anew if one is taken else one for one in judged)]
        taken = anew
        taken = graph if graph.speedup >= WORTH_A_GRAPH * again.speedup(taken.version.name) else taken
    compiled = compared.measurement(taken.version.name)
    is_measured = compiled.provenance == "measured"
    told = predictor.predicted_us(taken.version) if is_measured else None
    predicted_us, error = told or (compiled.median_us, 0.0)
    return Timed(
        version=taken.version,
        baseline=compared.measurement(BASELINE),
        compiled=compiled,
        predicted_us=predicted_us,
        error=error,
        distance=taken.distance,
        ratios=compared.ratios(taken.version.name),
        judged=judged,
        refused=refused,
        notes=[*device.remarks(), *made.notes, *taken.version.notes],
    )


def _runnable(device: Device, made: Versions, judge: Judge) -> tuple[dict[str, float], dict[str, str]]:
    """Return how far each version that the device can run is off, and why it cannot run the others.

    Raises:
        DeviceError: it is lost, or it can run none of them: the reason is that of the first one.
        LoweringError: likewise, and the reason is not the device's.
    """
    moved: dict[str, float] = {}
    refused, errors = dict(made.refused), list[HwcompError]()
    for version in made.offered:
        try:
            moved[version.name] = judge.moved_on(device, version)
        except GONE:  # noqa: PERF203 - the others are tried all the same
            raise
        except (LoweringError, DeviceError) as error:
            refused[version.name] = str(error)
            errors.append(error)
    if not moved:
        raise type(errors[0])(f"{str(errors[0]).rstrip('.')}; no other version of the network can run there either.")
    return moved, refused


def _compared(job: Job, device: Device, baseline: Version, offered: Sequence[Version], judge: Judge) -> Comparison:
    models = {BASELINE: baseline.content} | {one.name: one.content for one in offered}
    stage = job.reporter.stage("Measure")
    with stage.bar("interleaved runs", total=len(models) * ROUNDS) as bar:
        compared = compare(device, models, judge.feed, job.threads, ROUNDS, bar.advance)
    stage.done(f"float network ({baseline.name}) {compared.measurement(BASELINE).median_us / 1e3:.3f} ms")
    for one in offered:
        stage.done(f"{one.name} {compared.measurement(one.name).median_us / 1e3:.3f} ms")
    return compared


def _judged(version: Version, compared: Comparison, moved: float) -> Judged:
    latency_us, speedup = compared.measurement(version.name).median_us, compared.speedup(version.name)
    return Judged(version=version, latency_us=latency_us, speedup=speedup, distance=moved)


def _captured(
    job: Job, device: Device, baseline: Version, taken: Judged, judge: Judge, refused: dict[str, str]
) -> tuple[Judged | None, Comparison | None]:
    """Return a version as a CUDA graph, and new times of both; nothing if it is none that can be one."""
    graph = captured(taken.version)
    if graph is None:
        return None, None
    try:
        moved = judge.moved_on(device, graph)
        again = _compared(job, device, baseline, [taken.version, graph], judge)
    except GONE:
        raise
    except (LoweringError, DeviceError) as error:
        refused[graph.name] = str(error)
        return None, None
    return _judged(graph, again, moved), again
