"""How long the versions of a network take, in turn on a device; without one, by the roofline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwcomp.cost_models.roofline import Roofline
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.errors import LoweringError
from hwcomp.evaluation import distance, reference_outputs
from hwcomp.job import Job
from hwcomp.kernels import kernels_of, search_space
from hwcomp.lowering.onnxruntime import Array, Feed
from hwcomp.measurement import Measurement, estimated
from hwcomp.program import Inputs
from hwcomp.uniform.versions import NAMES, Version, Versions

ROUNDS = 8
BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """How long the float network takes, and the version that is fastest.

    Attributes:
        version: the fastest.
        baseline: latency of the float network.
        compiled: latency of the version.
        predicted_us: by the roofline; on an emulated core what it counted.
        error: of the prediction, relative.
        distance: of the version's outputs from the float network's, relative; None where it was not run.
        ratios: speed-up in each round; empty if nothing was measured.
        notes: what is to be known of it.
    """

    version: Version
    baseline: Measurement
    compiled: Measurement
    predicted_us: float
    error: float
    distance: float | None
    ratios: Sequence[float]
    notes: Sequence[str]

    @property
    def speedup(self) -> float:
        """How many times faster the version is."""
        return float(np.median(self.ratios)) if self.ratios else self.baseline.median_us / self.compiled.median_us


def estimate(job: Job, made: Versions, inputs: Inputs) -> Timed:
    """Return what the roofline says of the first version; a file that any processor runs is run, too.

    Args:
        job: the compilation.
        made: with a baseline that any processor runs.
        inputs: for the network.
    """
    first = made.offered[0]
    moved: float | None = None
    if first.is_portable:
        moved = distance(*(reference_outputs(one.content, [inputs]) for one in (made.baseline, first)))
    baseline_us, _ = _roofline(job, made.baseline)
    compiled_us, error = _roofline(job, first)
    elsewhere = "emulated" if job.target.gpu is None else "local, beside such a GPU,"
    note = (
        "Nothing was measured: both latencies are the roofline's, which knows neither runtimes nor zeros; give "
        f"--device ssh://... or --device {elsewhere} to learn more."
    )
    return Timed(
        version=first,
        baseline=estimated(baseline_us, job.threads, "analytic"),
        compiled=estimated(compiled_us, job.threads, "analytic"),
        predicted_us=compiled_us,
        error=error,
        distance=moved,
        ratios=[],
        notes=[note, *made.notes, *first.notes],
    )


def measure(job: Job, device: Device, made: Versions, feed: Feed, expected: Sequence[Array]) -> Timed:
    """Time all versions in turn, and return the fastest.

    Args:
        job: the compilation.
        device: where.
        made: what to time.
        feed: one input, by name.
        expected: outputs of the float network for it.

    Raises:
        LoweringError: the device can run none of them.
    """
    outputs, notes = _outputs(job, device, made, feed)
    offered = {version.runtime: version for version in made.offered if version.runtime in outputs}
    models = {BASELINE: made.baseline.content} | {name: version.content for name, version in offered.items()}
    stage = job.reporter.stage("Measure")
    with stage.bar("interleaved runs", total=len(models) * ROUNDS) as bar:
        compared = compare(device, models, feed, job.threads, ROUNDS, bar.advance)
    measured = {name: compared.measurement(name) for name in offered}
    fastest = min(measured, key=lambda name: measured[name].median_us)
    baseline = compared.measurement(BASELINE)
    before = f"{NAMES[made.baseline.runtime]}, float32, {baseline.median_us / 1e3:.3f} ms"
    told = [f"{NAMES[name]} {one.median_us / 1e3:.3f} ms" for name, one in measured.items()]
    stage.done(", ".join([before, *told]))
    if len(offered) > 1:
        notes = [*notes, f"Measured were {' and '.join(told)}; the faster one was taken."]
    version, compiled = offered[fastest], measured[fastest]
    is_measured = compiled.provenance == "measured"
    predicted_us, error = _roofline(job, version) if is_measured else (compiled.median_us, 0.0)
    return Timed(
        version=version,
        baseline=baseline,
        compiled=compiled,
        predicted_us=predicted_us,
        error=error,
        distance=distance([expected], [outputs[fastest]]),
        ratios=compared.ratios(fastest),
        notes=[*device.remarks(), *made.notes, *version.notes, *notes],
    )


def _outputs(job: Job, device: Device, made: Versions, feed: Feed) -> tuple[dict[str, Sequence[Array]], list[str]]:
    """Return the outputs of each version that the device can run, and why it cannot run the others."""
    outputs: dict[str, Sequence[Array]] = {}
    notes: list[str] = []
    for version in made.offered:
        try:
            outputs[version.runtime] = device.run(version.content, feed, job.threads)
        except LoweringError as error:  # noqa: PERF203 - the others are tried all the same
            if len(made.offered) == 1:
                raise
            notes.append(f"{NAMES[version.runtime]} was not compared: {error}")
    if not outputs:
        raise LoweringError(" ".join(notes))
    return outputs, notes


def _roofline(job: Job, version: Version) -> tuple[float, float]:
    """Return what the roofline predicts, in microseconds, and its relative error."""
    space, kernels = search_space(job.original), kernels_of(job.original, job.target.activation)
    roofline = Roofline(target=job.target, threads=job.threads, precision=version.precision)
    table = roofline.cost_table(space, kernels)
    return table.predict_us({}), table.error
