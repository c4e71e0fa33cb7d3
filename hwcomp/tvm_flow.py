"""The flow of ``--runtime tvm``: a float network becomes a library, and is timed against the float network."""

import importlib.metadata
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from hwcomp.artifact import TVM
from hwcomp.benches import device_for
from hwcomp.benches.base import Accuracy
from hwcomp.config import Budget
from hwcomp.cost_models.roofline import Roofline
from hwcomp.data import eval_samples
from hwcomp.devices import LOCAL
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.digests import model_digest
from hwcomp.evaluation import accuracies, distance, reference_outputs
from hwcomp.fingerprint import environment
from hwcomp.fix import fix, plan
from hwcomp.job import Job
from hwcomp.kernels import kernels_of, search_space
from hwcomp.lowering.onnx_export import export_plain, opaque_sites
from hwcomp.manifest import (
    BudgetReport,
    Compiled,
    LatencyUs,
    Manifest,
    ReachReport,
    RuntimeReport,
    TargetReport,
    Version,
)
from hwcomp.measurement import Measurement, estimated
from hwcomp.program import Program
from hwcomp.stages import digest
from hwcomp.subject import to_bytes
from hwcomp.tvm_libraries import Libraries, check_precision, libraries

PLAIN, LIBRARY = "plain", "library"
ROUNDS = 8


@dataclass(frozen=True, kw_only=True)
class Library:
    """A network as a library, with what was found out about it.

    Attributes:
        program: that it was made from.
        content: the file.
        manifest: all that is known of it.
    """

    program: Program
    content: bytes
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class Timed:
    """How long the float network takes, and the library.

    Attributes:
        baseline: of the float network.
        compiled: of the library.
        predicted_us: of the float network by the roofline, where something was measured; else the estimate itself.
        distance: of the library's outputs from the float network's, relative; 0 where it was not run.
        ratios: speed-up in each round; empty if nothing was measured.
        notes: what is to be known of it.
    """

    baseline: Measurement
    compiled: Measurement
    predicted_us: float
    distance: float
    ratios: Sequence[float]
    notes: Sequence[str]

    @property
    def speedup(self) -> float:
        """How many times faster the library is."""
        return float(np.median(self.ratios)) if self.ratios else self.baseline.median_us / self.compiled.median_us


def compile_with_tvm(job: Job) -> Library:
    """Compile a network with TVM, time it where there is a device, and see what it computes where it runs here.

    Raises:
        InputError: the target has no vectors that there are kernels for, or not the precision; or the device cannot be
            used.
        LoweringError: TVM cannot compile the network, or there is no compiler or linker for the target.
    """
    check_precision(job)
    fixed = fix(job.original, plan(job.original, {}, {}, {}))
    key = digest(
        model_digest(job.workload.model), str(fixed.module.code), [list(x.shape) for x in fixed.example_inputs]
    )
    names = [node.name for node in fixed.nodes if node.op == "placeholder"]
    plain = job.stages.blob(
        "plain",
        key,
        lambda: to_bytes(export_plain(job.workload.model, fixed.example_inputs, names, opaque_sites(fixed))),
    )
    with device_for(job.target, job.config) or nullcontext() as device:  # one that cannot be used is told first
        made = libraries(job, fixed, plain, timed=device is not None)
        timed = _estimated(job) if device is None else _timed(job, device, made, plain, names, fixed)
    return Library(program=fixed, content=made.content, manifest=_manifest(job, plain, made, timed, fixed))


def _roofline_us(job: Job) -> float:
    space, kernels = search_space(job.original), kernels_of(job.original, job.target.activation)
    return Roofline(target=job.target, threads=job.threads).cost_table(space, kernels).predict_us({})


def _estimated(job: Job) -> Timed:
    """Estimate both alike."""
    latency_us = _roofline_us(job)
    one = estimated(latency_us, job.threads, "analytic")
    elsewhere = "emulated" if job.target.gpu is None else "local, beside such a GPU,"
    note = (
        "Nothing was measured and the library was not run: both latencies are the roofline's, in float32, which knows "
        f"neither runtimes nor zeros; give --device ssh://... or --device {elsewhere} to learn more."
    )
    return Timed(baseline=one, compiled=one, predicted_us=latency_us, distance=0.0, ratios=[], notes=[note])


def _timed(job: Job, device: Device, made: Libraries, plain: bytes, names: Sequence[str], fixed: Program) -> Timed:
    """Time both in turn on a device."""
    latency_us = _roofline_us(job)
    models = {PLAIN: made.baseline, LIBRARY: made.content}
    feed = {name: x.numpy() for name, x in zip(names, fixed.example_inputs, strict=True)}
    stage = job.reporter.stage("Measure")
    with stage.bar("interleaved runs", total=len(models) * ROUNDS) as bar:
        timed = compare(device, models, feed, job.threads, ROUNDS, bar.advance)
        found, notes = device.run(made.content, feed, job.threads), device.remarks()
    baseline, compiled = timed.measurement(PLAIN), timed.measurement(LIBRARY)
    stage.done(f"{made.against} {baseline.median_us / 1e3:.3f} ms, TVM {compiled.median_us / 1e3:.3f} ms")
    return Timed(
        baseline=baseline,
        compiled=compiled,
        predicted_us=latency_us if compiled.provenance == "measured" else compiled.median_us,
        distance=distance(reference_outputs(plain, [fixed.example_inputs]), [found]),
        ratios=timed.ratios(LIBRARY),
        notes=notes,
    )


def _manifest(job: Job, plain: bytes, made: Libraries, timed: Timed, fixed: Program) -> Manifest:
    config, target = job.config, job.target
    notes = [*timed.notes, *made.notes, *(f"{note.site}: {note.reason}" for note in fixed.notes)]
    runs_here = target.local or config.device == LOCAL
    accuracy = _accuracy(job, plain, made.content) if runs_here else None
    return Manifest(
        name=job.workload.name,
        target=TargetReport(
            name=target.name,
            description=target.description,
            activation=target.activation,
            threads=job.threads,
            provider=target.provider,
        ),
        runtime=RuntimeReport(name=TVM, version=importlib.metadata.version("apache-tvm"), precision=made.precision),
        method=config.method,
        seed=config.seed,
        budget=BudgetReport(
            kind=config.budget.kind,
            value=config.budget.value,
            max_drop=config.budget.max_drop,
            met=_met(config.budget, timed, accuracy),
        ),
        baseline=Version(
            latency_us=LatencyUs.of(timed.baseline),
            accuracy=None if accuracy is None else accuracy.baseline,
            size_bytes=len(plain),
        ),
        compiled=Compiled(
            latency_us=LatencyUs.of(timed.compiled),
            accuracy=None if accuracy is None else accuracy.compiled,
            size_bytes=len(made.content),
            predicted_latency_us=timed.predicted_us,
            output_distance=timed.distance,
        ),
        speedup=timed.speedup,
        speedup_rounds=list(timed.ratios),
        reach=ReachReport(
            float_us=timed.baseline.median_us,
            fastest_us=timed.compiled.median_us,
            table_error=0.0,
            provenance=timed.compiled.provenance,
        ),
        sites=[],
        conversions=[],
        notes=notes,
        calibration="none: nothing is quantised",
        assignment={},
        environment=environment(),
        files={},
    )


def _accuracy(job: Job, plain: bytes, content: bytes) -> Accuracy | None:
    labelled = eval_samples(job.workload)
    if labelled is None:
        return None
    with job.reporter.stage("Evaluate").bar("test data", total=None) as bar:
        before, after = accuracies([plain, content], labelled, job.workload.metric, job.threads, bar.advance)
    return Accuracy(baseline=before, compiled=after, judge=before)


def _met(budget: Budget, timed: Timed, accuracy: Accuracy | None) -> bool:
    """Return whether a budget holds; the outputs are the float network's but for the order of additions."""
    kept = accuracy is None or budget.max_drop is None or accuracy.judge - accuracy.compiled <= budget.max_drop
    fast = {
        "latency": timed.compiled.median_us <= budget.value,
        "speedup": timed.speedup >= budget.value,
        "fastest": True,
    }
    return kept and fast[budget.kind]
