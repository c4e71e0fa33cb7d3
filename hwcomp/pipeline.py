"""The whole flow, from a workload to an artifact with the proof of its speed, in one function: `compile_workload`."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hwcomp import artifact
from hwcomp.attempt import Attempt, best_of, easier
from hwcomp.benches import Context, check_device, make_bench
from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.default_passes import default_passes
from hwcomp.errors import BudgetError, InputError
from hwcomp.job import Job
from hwcomp.kernels import search_space
from hwcomp.manifest import Manifest
from hwcomp.prepared import Prepared, prepare_for_search
from hwcomp.program import OPAQUE, Program, run_passes
from hwcomp.program_code import program_files
from hwcomp.proposals import Proposals, proposals
from hwcomp.report_html import render_html
from hwcomp.search.post_training import search
from hwcomp.search.shrunk import Shrunk
from hwcomp.stages import Stages, cache_root
from hwcomp.summary import summarise_result
from hwcomp.target import Target, load
from hwcomp.tracing import trace
from hwcomp.uniform.flow import compile_uniform
from hwcomp.width_timing import within
from hwcomp.workload import Workload

FRONT = "front"
"""Folder inside an artifact's of the networks that are slower and more accurate."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a compilation gives.

    Attributes:
        artifact: the output folder.
        report: everything about it, see `hwcomp.manifest.Manifest`.
    """

    artifact: Path
    report: Manifest

    @property
    def speedup(self) -> float:
        """How many times faster than the float network; measured where ``report.reach.provenance`` says so."""
        return self.report.speedup


def compile_workload(workload: Workload, config: CompileConfig, reporter: Reporter | None = None) -> Result:
    """Compile a workload for a target. Read top to bottom.

    Raises:
        InputError: something that was given cannot be used.
        BudgetError: the budget cannot be met; the fastest point reached is in the output folder.
    """
    reporter = reporter or Reporter()
    target = load(config.target)
    check_device(target, config)
    folder = artifact.prepare(config.out or default_folder(workload, target), force=config.force)

    network = trace_workload(workload, reporter)
    original = transformed(network, target, reporter)
    job = Job(
        workload=workload, network=network, original=original, target=target, config=config,
        stages=Stages(cache_root()), reporter=reporter,
    )  # fmt: skip
    if config.runtime == artifact.TVM or config.precision is not None or _is_for_gpu(job):
        return _uniform(job, folder)
    with ExitStack() as benches:
        proposed = proposals(job)
        attempts = [_compiled(job, next(proposed), benches)]
        while (following := _answer(proposed, attempts[-1])) is not None:
            attempts.append(_compiled(job, following, benches))

        front = [_written(job, folder / FRONT / str(number), one) for number, one in enumerate(easier(attempts), 1)]
        manifest = _written(job, folder, best_of(attempts), front)
    if not manifest.budget.met:
        raise BudgetError(_missed(manifest, folder, config), manifest)
    return Result(artifact=folder, report=manifest)


def _is_for_gpu(job: Job) -> bool:
    """Return whether a GPU gets the network as it is: methods that train search for every layer."""
    return job.target.gpu is not None and job.config.method == "post_training"


def _uniform(job: Job, folder: Path) -> Result:
    """Compile the network as it is, in one precision throughout; see `hwcomp.uniform.flow`."""
    made = compile_uniform(job)
    source = program_files(made.program, job.workload.name)
    manifest = artifact.write(folder, made.content, source, made.manifest, render_html)
    if not manifest.budget.met:
        raise BudgetError(_missed(manifest, folder, job.config), manifest)
    return Result(artifact=folder, report=manifest)


def _compiled(job: Job, shrunk: Shrunk, benches: ExitStack) -> Attempt:
    """Choose the precision of a network by measurement, or take the one it was trained with, and measure that.

    Its bench stays open for what a method may time there later.
    """
    job = job if shrunk.budget is None else job.under(shrunk.budget)
    prepared = _prepared(job, shrunk)
    context = Context(
        prepared=prepared, workload=job.workload, config=job.config, stages=job.stages, reporter=job.reporter,
        threads=job.threads,
    )  # fmt: skip
    bench = benches.enter_context(make_bench(context))
    table = bench.cost_table()
    sensitivity = bench.sensitivity()
    bench.report_reach(table)
    if shrunk.precision is None:
        tried = search(table, sensitivity, job.config.budget, bench.check, bench.refine, bench.float_us)
    else:
        chosen = within(prepared.space, shrunk.precision.assignment)
        tried = [bench.check(chosen, table.predict_us(chosen))]
    final = bench.conclude(tried)
    return Attempt(
        shrunk=shrunk, prepared=prepared, bench=bench, table=table, sensitivity=sensitivity, final=final
    )  # fmt: skip


def _prepared(job: Job, shrunk: Shrunk) -> Prepared:
    """Export and calibrate a network; the original one stays what it is compared with."""
    is_whole = shrunk.network is job.network
    program = job.original if is_whole else transformed(shrunk.network, job.target, job.reporter)
    smaller_than = None if is_whole else job.original
    prepared = prepare_for_search(job.workload, program, job.target, job.config, job.stages, job.reporter, smaller_than)
    return prepared if shrunk.precision is None else prepared.with_trained(shrunk.precision.params)


def _answer(proposed: Proposals, attempt: Attempt) -> Shrunk | None:
    """Tell a method what came of its proposal, and return the next one, or None if it has none."""
    try:
        return proposed.send(attempt)
    except StopIteration:
        return None


def _written(job: Job, folder: Path, attempt: Attempt, front: Sequence[Manifest] = ()) -> Manifest:
    """Write the artifact of an attempt; its manifest tells of those along the front too."""
    manifest = summarise_result(job.workload, attempt.bench.context.config, attempt, front)
    program_source = program_files(attempt.prepared.fixed(attempt.assignment), job.workload.name)
    return artifact.write(folder, attempt.final.candidate.model, program_source, manifest, render_html)


def default_folder(workload: Workload, target: Target) -> Path:
    """Return where an artifact goes if nothing is said."""
    return Path("build") / f"{workload.name}-{target.name}"


def traced(workload: Workload, target: Target, reporter: Reporter) -> Program:
    """Trace a workload's network and run the default passes; raises as `transformed` does."""
    return transformed(trace_workload(workload, reporter), target, reporter)


def trace_workload(workload: Workload, reporter: Reporter) -> Program:
    """Trace a workload's network."""
    with reporter.stage("Trace").bar("tracing", total=None):
        return trace(workload.model, workload.example_inputs)


def transformed(network: Program, target: Target, reporter: Reporter) -> Program:
    """Run the default passes on a traced network.

    Raises:
        InputError: no operator of it can run in anything cheaper than float.
    """
    stage = reporter.stage("Trace")
    with stage.bar("transforming", total=None):
        program = run_passes(network, default_passes(target))
    space = search_space(program)
    opaque = [note for note in program.notes if note.reason.startswith(OPAQUE)]
    if not space.free and not opaque:
        kinds = sorted({site.op for site in space.sites})
        reasons = "; ".join(f"{note.site}: {note.reason}" for note in program.notes[:3])
        raise InputError(
            f"Nothing in this model can run in a cheaper precision on target '{target.name}' "
            f"(it consists of {', '.join(kinds) or 'no operators'}{'; ' + reasons if reasons else ''}); "
            "`hwcomp targets show NAME` lists what a target can do."
        )
    text = f"{type(network.module).__name__}: {len(space.sites)} operators, {len(space.free)} with a choice"
    stage.done(text + (f", opaque: {', '.join(n.site for n in opaque)}" if opaque else ", nothing opaque"))
    for note in opaque:
        reporter.console.print(f"          [yellow]{note.site}[/yellow] {note.reason}", highlight=False)
    return program


def _missed(manifest: Manifest, folder: Path, config: CompileConfig) -> str:
    latency = manifest.compiled.latency_us
    return (
        f"The budget ({config.budget}) cannot be met: the best point reached is {latency.median / 1e3:.3g} ms, "
        f"{manifest.speedup:.2f}x ({latency.provenance}); it is in {folder}."
    )
