"""The flow for GPUs, and of ``--runtime tvm``: a network as it is becomes a file of one precision.

No layer has a choice of its own: runtimes for GPUs fuse what they like, so that no layer has a latency. The whole
network is made ready in every precision and for every runtime that the target has, and the fastest is taken that is
accurate enough.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from hwcomp.benches import device_for
from hwcomp.benches.base import Accuracy
from hwcomp.config import Budget
from hwcomp.default_passes import default_passes
from hwcomp.devices.base import Device
from hwcomp.fingerprint import environment
from hwcomp.fix import fix, plan
from hwcomp.job import Job
from hwcomp.manifest import (
    BudgetReport,
    Compiled,
    LatencyUs,
    Manifest,
    ReachReport,
    RuntimeReport,
    TargetReport,
    VersionReport,
)
from hwcomp.manifest import Version as Numbers
from hwcomp.prepared import plain_file, prepare_for_search
from hwcomp.program import Program, run_passes
from hwcomp.target import Gpu
from hwcomp.uniform.forms import check_precision, whole_network_target
from hwcomp.uniform.judging import Judge
from hwcomp.uniform.partial import with_partial_integers
from hwcomp.uniform.predicting import Predictor
from hwcomp.uniform.timing import Timed, estimate, measure
from hwcomp.uniform.versions import Versions, library_for_processor, versions_for_gpu


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """A network in one precision, with what was found out about it.

    Attributes:
        program: that it was made from, or with the same rounding.
        content: the file.
        manifest: all that is known of it.
    """

    program: Program
    content: bytes
    manifest: Manifest


def compile_uniform(job: Job) -> Uniform:
    """Make a network ready for a runtime as it is, time it where there is a device, and see what it computes.

    Raises:
        InputError: the target has no vectors that there are kernels for, or not the precision; or the device cannot be
            used.
        LoweringError: no runtime can have the network, or there is no compiler or linker for the target.
    """
    check_precision(job)
    with device_for(job.target, job.config) or nullcontext() as device:  # one that cannot be used is told first
        if job.target.gpu is None:
            return _for_processor(job, device)
        return _for_gpu(job, job.target.gpu, device)


def _for_processor(job: Job, device: Device | None) -> Uniform:
    fixed = fix(job.original, plan(job.original, {}, {}, {}))
    plain = plain_file(job.workload, fixed, job.stages)
    made = library_for_processor(job, fixed, plain)
    judge = Judge.of(job, plain, [fixed.example_inputs])
    timed = _timed(job, job.original, device, made, judge)
    return _written(job, judge, timed, fixed, "none: nothing is quantised")


def _for_gpu(job: Job, gpu: Gpu, device: Device | None) -> Uniform:
    target = whole_network_target(job.target)
    program = run_passes(job.network, default_passes(target))
    prepared = prepare_for_search(job.workload, program, target, job.config, job.stages, job.reporter)
    made = versions_for_gpu(job, gpu, prepared.fixed({}), prepared, timed=device is not None)
    judge = Judge.of(job, prepared.plain, prepared.data.inputs, prepared.data.validation)
    made = with_partial_integers(job, prepared, made, judge)
    timed = _timed(job, program, device, made, judge)
    assignment = timed.version.assignment
    source = prepared.data.source if assignment else "none: nothing is quantised"
    return _written(job, judge, timed, prepared.fixed(assignment), source)


def _timed(job: Job, program: Program, device: Device | None, made: Versions, judge: Judge) -> Timed:
    predictor = Predictor.of(job, program)
    if device is None:
        return estimate(job, predictor, made, judge)
    return measure(job, predictor, device, made, judge)


def _written(job: Job, judge: Judge, timed: Timed, fixed: Program, calibration: str) -> Uniform:
    notes = [f"{note.site}: {note.reason}" for note in fixed.notes]
    manifest = _manifest(job, judge, timed, notes, calibration)
    return Uniform(program=fixed, content=timed.version.content, manifest=manifest)


def _manifest(job: Job, judge: Judge, timed: Timed, notes: Sequence[str], calibration: str) -> Manifest:
    config, target, version = job.config, job.target, timed.version
    accuracy = judge.accuracy(version)
    return Manifest(
        name=job.workload.name,
        target=TargetReport(
            name=target.name,
            description=target.description,
            activation="int8_symmetric" if version.precision == "int8" else target.activation,
            threads=job.threads,
            provider=version.provider,
        ),
        runtime=RuntimeReport(
            name=version.runtime,
            version=version.runtime_version,
            precision=version.precision,
            provider_options={} if version.wishes is None else version.wishes.options(),
        ),
        method=config.method,
        seed=config.seed,
        budget=BudgetReport(
            kind=config.budget.kind,
            value=config.budget.value,
            max_drop=config.budget.max_drop,
            met=_met(config.budget, timed, accuracy),
        ),
        baseline=Numbers(
            latency_us=LatencyUs.of(timed.baseline),
            accuracy=None if accuracy is None else accuracy.baseline,
            size_bytes=len(judge.plain),
        ),
        compiled=Compiled(
            latency_us=LatencyUs.of(timed.compiled),
            accuracy=None if accuracy is None else accuracy.compiled,
            size_bytes=len(version.content),
            predicted_latency_us=timed.predicted_us,
            output_distance=timed.distance,
        ),
        speedup=timed.speedup,
        speedup_rounds=list(timed.ratios),
        reach=ReachReport(
            float_us=timed.baseline.median_us,
            fastest_us=timed.compiled.median_us,
            table_error=timed.error,
            provenance=timed.compiled.provenance,
        ),
        sites=[],
        conversions=[],
        versions=_versions(timed),
        notes=[*timed.notes, *notes],
        calibration=calibration,
        assignment=dict(version.assignment),
        environment=environment(),
        files={},
    )


def _versions(timed: Timed) -> list[VersionReport]:
    """Return what was compared, the fastest first, and then what could not be."""
    compared = [
        VersionReport(
            name=one.version.name,
            latency_us=one.latency_us,
            speedup=one.speedup,
            distance=one.distance,
            drop=one.drop,
            taken=one.version.name == timed.version.name,
        )
        for one in sorted(timed.judged, key=lambda one: one.latency_us)
    ]
    return [*compared, *(VersionReport(name=name, refused=reason) for name, reason in timed.refused.items())]


def _met(budget: Budget, timed: Timed, accuracy: Accuracy | None) -> bool:
    """Return whether a budget holds."""
    kept = accuracy is None or budget.max_drop is None or accuracy.judge - accuracy.compiled <= budget.max_drop
    fast = {
        "latency": timed.compiled.median_us <= budget.value,
        "speedup": timed.speedup >= budget.value,
        "fastest": True,
    }
    return kept and fast[budget.kind]
