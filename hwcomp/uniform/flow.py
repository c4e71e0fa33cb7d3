"""The flow of ``--runtime tvm`` and of ``--precision``: a network as it is becomes a file of one precision.

Nothing is searched: float32 or float16 throughout, with zeros left out where TVM has kernels for that.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from hwcomp.benches import device_for
from hwcomp.benches.base import Accuracy
from hwcomp.config import Budget
from hwcomp.data import eval_samples
from hwcomp.devices import LOCAL
from hwcomp.evaluation import accuracies, reference_outputs
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
)
from hwcomp.manifest import Version as VersionReport
from hwcomp.prepared import plain_file
from hwcomp.program import Program
from hwcomp.uniform.timing import Timed, estimate, measure
from hwcomp.uniform.versions import check_precision, versions


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """A network in one precision, with what was found out about it.

    Attributes:
        program: that it was made from.
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
    fixed = fix(job.original, plan(job.original, {}, {}, {}))
    names = [node.name for node in fixed.nodes if node.op == "placeholder"]
    plain = plain_file(job.workload, fixed, job.stages)
    with device_for(job.target, job.config) or nullcontext() as device:  # one that cannot be used is told first
        made = versions(job, fixed, plain, timed=device is not None)
        if device is None:
            timed = estimate(job, made, fixed.example_inputs)
        else:
            feed = {name: x.numpy() for name, x in zip(names, fixed.example_inputs, strict=True)}
            (expected,) = reference_outputs(plain, [fixed.example_inputs])
            timed = measure(job, device, made, feed, expected)
    manifest = _manifest(job, plain, timed, [f"{note.site}: {note.reason}" for note in fixed.notes])
    return Uniform(program=fixed, content=timed.version.content, manifest=manifest)


def _manifest(job: Job, plain: bytes, timed: Timed, notes: Sequence[str]) -> Manifest:
    config, target, version = job.config, job.target, timed.version
    accuracy = _accuracy(job, plain, timed)
    return Manifest(
        name=job.workload.name,
        target=TargetReport(
            name=target.name,
            description=target.description,
            activation=target.activation,
            threads=job.threads,
            provider=target.provider,
        ),
        runtime=RuntimeReport(name=version.runtime, version=version.runtime_version, precision=version.precision),
        method=config.method,
        seed=config.seed,
        budget=BudgetReport(
            kind=config.budget.kind,
            value=config.budget.value,
            max_drop=config.budget.max_drop,
            met=_met(config.budget, timed, accuracy),
        ),
        baseline=VersionReport(
            latency_us=LatencyUs.of(timed.baseline),
            accuracy=None if accuracy is None else accuracy.baseline,
            size_bytes=len(plain),
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
        notes=[*timed.notes, *notes],
        calibration="none: nothing is quantised",
        assignment={},
        environment=environment(),
        files={},
    )


def _accuracy(job: Job, plain: bytes, timed: Timed) -> Accuracy | None:
    """Return the metric of both, where the version can be run here."""
    is_here = job.target.local or job.config.device == LOCAL
    labelled = eval_samples(job.workload)
    if labelled is None or not (is_here or timed.version.is_portable):
        return None
    models = [plain, timed.version.content]
    with job.reporter.stage("Evaluate").bar("test data", total=None) as bar:
        before, after = accuracies(models, labelled, job.workload.metric, job.threads, bar.advance)
    return Accuracy(baseline=before, compiled=after, judge=before)


def _met(budget: Budget, timed: Timed, accuracy: Accuracy | None) -> bool:
    """Return whether a budget holds."""
    kept = accuracy is None or budget.max_drop is None or accuracy.judge - accuracy.compiled <= budget.max_drop
    fast = {
        "latency": timed.compiled.median_us <= budget.value,
        "speedup": timed.speedup >= budget.value,
        "fastest": True,
    }
    return kept and fast[budget.kind]
