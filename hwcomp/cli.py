"""The ``hwcomp`` command: options in, exit code out; no logic. Heavy imports happen inside the commands."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hwcomp import __version__, cli_profile

app = typer.Typer(
    name="hwcomp",
    help="The fastest network on your hardware, at the accuracy you ask for, with proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_profile.app, name="profile")

INTERRUPTED = 130

Model = Annotated[str, typer.Argument(help="model.py, or model.py:NAME for another factory in it.", metavar="MODEL")]
TargetName = Annotated[str, typer.Option("--target", "-t", help="host, arm, gpu, ... or the path of a .toml file.")]
Artifact = Annotated[Path, typer.Argument(help="Folder that `hwcomp compile` wrote.", metavar="ARTIFACT")]
Device = Annotated[str, typer.Option(help="Where: local, ssh://[user@]host[:port], or emulated.")]
TuningDatabase = Annotated[
    Path | None,
    typer.Option(help="Of `hwcomp tune`'s schedules, for --runtime tvm; those of this machine if not given."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the runtime; all cores if not given.")]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Find out what `hwcomp COMMAND --help` says of each command below."""
    context.obj = debug
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def compile(  # noqa: A001 - the verb of the field
    model: Model,
    target: TargetName = "host",
    latency: Annotated[str | None, typer.Option(help="Budget with its unit: 4ms, 350us.")] = None,
    speedup: Annotated[str | None, typer.Option(help="Budget as a ratio to the float network: 2x.")] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Points of the metric that may be lost (1.0 if no other budget is given).")
    ] = None,
    calibration: Annotated[int, typer.Option(min=1, help="Number of calibration inputs.")] = 64,
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Output folder; build/NAME-TARGET if not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not hwcomp's.")] = False,
    ranges: Annotated[str, typer.Option(help="Activation ranges by mse, percentile or minmax.")] = "mse",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest on stdout, and nothing else.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; measure and write nothing.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="Measure there: ssh://[user@]host[:port]; this machine if it is the target.")
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="onnxruntime; or tvm: a library of its own, in float, faster the more weights are zero.")
    ] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="Of the whole network on a GPU: float32, or float16 for products of halves.")
    ] = None,
    database: TuningDatabase = None,
    store: cli_profile.StorePath = None,
    method: Annotated[
        str,
        typer.Option(
            help="post_training; one that removes channels and trains: uniform_pruning, latency_pruning, "
            "soft_filter_pruning, asymptotic_soft_filter_pruning; one that removes weights and trains: "
            "magnitude_pruning, score_pruning; or precision and channels at once: differentiable."
        ),
    ] = "post_training",
    prune_rate: Annotated[float | None, typer.Option(help="Share of the channels to remove, 0 to below 1.")] = None,
    density: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="Share of the weights that stay, above 0 to 1, for methods that remove them."
        ),
    ] = None,
    pattern: Annotated[
        str, typer.Option(help="How they lie: in blocks of output x input channels (4x1, 1x1, 1x4), or 2of4.")
    ] = "4x1",
    epochs: Annotated[int | None, typer.Option(help="Of training; 10 if neither these nor minutes are given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Of training: the schedule is planned to end then.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest; the method's own if not given.")] = None,
    clip: Annotated[
        float | None, typer.Option(help="Largest norm of all gradients; the method's own if not given.")
    ] = None,
    mixed_precision: Annotated[str, typer.Option(help="Of training: no, or bf16 where the processor has it.")] = "no",
    importance: Annotated[
        str | None, typer.Option(help="l1, l2, group_l2, batchnorm_scale, taylor, random_control or FILE.py:FUNCTION.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Channels are removed in so many steps, with training after each.")] = 1,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start training from fresh weights.")] = False,
    recovery: Annotated[
        float, typer.Option(help="Share of soft pruning's training after the zero filters were removed; papers: 0.")
    ] = 0.3,
    paper: Annotated[
        bool, typer.Option("--paper", help="Soft pruning of each layer for itself, to compare with papers.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for curves of the training, for TensorBoard.")
    ] = None,
    estimator: Annotated[
        str, typer.Option(help="How the search gets its gradients: a name of docs/estimators.md, or FILE.py:CLASS.")
    ] = "weight_mixture",
    latency_term: Annotated[
        str, typer.Option(help="How latency enters the search: a name of docs/estimators.md, or FILE.py:CLASS.")
    ] = "lagrangian",
    search_share: Annotated[float, typer.Option(help="Share of the training that the search takes.")] = 0.5,
    filter_share: Annotated[
        float, typer.Option(help="Share of a layer's filters that may be more precise than the rest; 0 for none.")
    ] = 0.25,
    fixed_widths: Annotated[
        bool, typer.Option("--fixed-widths", help="All channels stay: the search is for precision alone.")
    ] = False,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="The search may also leave out weights, where that is faster.")
    ] = False,
    search_level: Annotated[
        str, typer.Option(help="bilevel: choices learn from batches of their own; single: from those of the weights.")
    ] = "bilevel",
    search_order: Annotated[int, typer.Option(help="2: the search looks through a step of the weights.")] = 1,
    weight_noise: Annotated[
        float, typer.Option(help="Share of the rounded weights that get noise in training instead of being rounded.")
    ] = 0.0,
    controls: Annotated[
        bool, typer.Option("--controls", help="Also train what the search must beat, and take the best.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="Trainings of each configuration, with --controls.")] = 3,
    pareto: Annotated[int | None, typer.Option(help="So many networks up to the budget, from one search.")] = None,
) -> None:
    """Compile a network for a target, measure it, and write an artifact with the proof."""
    from hwcomp import commands

    options = commands.CompileOptions(
        target=target, latency=latency, speedup=speedup, max_drop=max_drop, calibration=calibration, threads=threads,
        seed=seed, out=out, force=force, ranges=ranges, dry_run=dry_run, device=device, runtime=runtime,
        precision=precision, database=database, store=store, method=method, prune_rate=prune_rate, density=density,
        pattern=pattern, epochs=epochs, minutes=minutes, learning_rate=learning_rate, clip=clip,
        mixed_precision=mixed_precision, importance=importance, steps=steps, from_scratch=from_scratch, paper=paper,
        recovery=recovery, tensorboard=tensorboard, estimator=estimator, latency_term=latency_term,
        search_share=search_share, filter_share=filter_share, fixed_widths=fixed_widths, sparse=sparse,
        search_level=search_level, search_order=search_order, weight_noise=weight_noise, controls=controls,
        seeds=seeds, pareto=pareto,
    )  # fmt: skip
    commands.compile_model(model, options, as_json=as_json)


@app.command()
def tune(
    model: Model,
    target: TargetName = "host",
    threads: Threads = None,
    minutes: Annotated[
        float, typer.Option(help="Measure for so long at most; the same command goes on from there.")
    ] = 10.0,
    device: Annotated[str, typer.Option(help="Where it is measured: local, this machine.")] = "local",
    database: TuningDatabase = None,
) -> None:
    """Measure schedules of what TVM generates for a model; `hwcomp compile --runtime tvm` then uses the fastest."""
    from hwcomp import tune_command

    tune_command.tune(model, target=target, threads=threads, minutes=minutes, device=device, database=database)


@app.command()
def bench(
    artifact: Artifact,
    against: Annotated[Path | None, typer.Option(help="Another artifact, or an .onnx file, to compare with.")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Blocks of each, in turn.")] = 10,
    threads: Threads = None,
    device: Device = "local",
) -> None:
    """Time an artifact, alone or against another, in interleaved and paired rounds."""
    from hwcomp import commands

    commands.bench(artifact, against, rounds, threads, device)


@app.command()
def run(
    artifact: Artifact,
    inputs: Annotated[list[Path], typer.Option("--input", "-i", help="One .npy file for each input, in order.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the output, as .npy.")],
    threads: Threads = None,
    provider: Annotated[
        str | None, typer.Option(help="Of ONNX Runtime: cpu, cuda or tensorrt; the target's if not given.")
    ] = None,
) -> None:
    """Run an artifact on arrays from files."""
    from hwcomp import commands

    commands.run(artifact, inputs, output, threads, provider)


@app.command()
def doctor(
    model: Annotated[str | None, typer.Argument(help="model.py, or model.py:NAME.", metavar="[MODEL]")] = None,
    target: TargetName = "host",
    threads: Threads = None,
) -> None:
    """Tell what is installed and usable here; of a model, what can be traced and quantised, and what can be reached."""
    from hwcomp import commands

    commands.doctor(model, target, threads)


@app.command()
def targets(
    action: Annotated[str | None, typer.Argument(help="`show` for one target.", metavar="[show")] = None,
    name: Annotated[str | None, typer.Argument(help="Which.", metavar="NAME]")] = None,
) -> None:
    """List the targets, or show one: `hwcomp targets show arm`."""
    from hwcomp import commands

    commands.targets(action, name)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write model.py.")] = Path(),
) -> None:
    """Write a commented model.py to start from."""
    from hwcomp import commands

    commands.init(folder)


@app.command()
def report(
    artifact: Artifact,
    all_sites: Annotated[bool, typer.Option("--all", help="Every operator, not only the slowest.")] = False,
) -> None:
    """Show the report of an artifact again, and write its report.html anew."""
    from hwcomp import commands

    commands.report(artifact, all_sites=all_sites)


@app.command()
def verify(
    artifact: Artifact,
    device: Device = "local",
    target: Annotated[str | None, typer.Option(help="Whose core is emulated; the artifact's own if not given.")] = None,
) -> None:
    """Check that an artifact computes on a device what it computes here; exit code 1 if it does not."""
    from hwcomp import verify_command

    raise typer.Exit(verify_command.verify(artifact, device, target))


@app.command()
def setup(
    what: Annotated[
        str,
        typer.Argument(help="`emulation`, for --device emulated; `tvm`, for libraries of TVM there.", metavar="WHAT"),
    ],
    sources: Annotated[
        Path | None, typer.Option(help="Package sources (.list or .sources) to use in place of the system's.")
    ] = None,
) -> None:
    """Prepare emulation of ARM cores in the cache folder, without root."""
    from hwcomp import setup_command

    setup_command.setup(what, sources)


def entry() -> None:
    """Run the command; turn what goes wrong into one sentence on stderr and an exit code."""
    from hwcomp import interrupt

    interrupt.install()
    try:
        code = _guarded(app)
    except KeyboardInterrupt:
        code = _interrupted()
    sys.exit(code)


def _guarded(command: Callable[..., Any]) -> int:
    from hwcomp.errors import HwcompError

    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        code = command(standalone_mode=False)
    except HwcompError as error:
        if debug:
            traceback.print_exc()
        typer.secho(f"hwcomp: {error}", err=True, fg=typer.colors.RED)
        return error.exit_code
    except typer.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:  # noqa: BLE001 - raised again unless it is a usage error
        return _usage_or_raise(error)
    if code == INTERRUPTED:  # the command line library turns Ctrl-C into this
        return _interrupted()
    return code if isinstance(code, int) else 0


def _interrupted() -> int:
    typer.secho("hwcomp: interrupted; finished stages are kept, the same command goes on from them", err=True)
    return INTERRUPTED


def _usage_or_raise(error: Exception) -> int:
    """Print a usage error as the command line library does; anything else is a defect and keeps its traceback."""
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if show is None or code is None:
        raise error
    show()
    return int(code)
