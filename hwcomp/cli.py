"""The ``hwcomp`` command: options in, exit code out; no logic. Heavy imports happen inside the commands."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hwcomp import __version__, cli_compile, cli_profile
from hwcomp.cli_options import Artifact, Device, Model, TargetName, Threads, TuningDatabase

app = typer.Typer(
    name="hwcomp",
    help="The fastest network on your hardware, at the accuracy you ask for, with proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_profile.app, name="profile")

INTERRUPTED = 130


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


app.command()(cli_compile.compile)


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
