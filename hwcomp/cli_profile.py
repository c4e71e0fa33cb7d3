"""The ``hwcomp profile`` commands: options in; no logic. Heavy imports happen inside the commands."""

import copy
import difflib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

MEASURE = "run"
"""The command that `hwcomp profile` runs if no other one is named."""


class ModelOrCommand(TyperGroup):
    """A group that takes what is no command of its own for the arguments of the one that measures."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the measuring command in front, where no command is named."""
        first = args[0] if args else ""
        if first not in (*self.commands, *ctx.help_option_names):
            self._check_spelling(ctx, first)
            args = [MEASURE, *args]
        return super().parse_args(ctx, args)

    def _check_spelling(self, ctx: Any, first: str) -> None:
        """Refuse a word that is nearly a command and no file: measuring takes minutes."""
        near = difflib.get_close_matches(first, self.commands, n=1)
        if near and not Path(first).exists():
            ctx.fail(f"No command or file '{first}'; did you mean '{near[0]}'?")

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the options of the measuring command beside the list of the others."""
        shown = copy.copy(self)
        shown.params = [*self.params, *self.commands[MEASURE].params]
        super(ModelOrCommand, shown).format_help(ctx, formatter)


app = typer.Typer(cls=ModelOrCommand, subcommand_metavar="| COMMAND ...")

StorePath = Annotated[
    Path | None,
    typer.Option("--store", help="The latency store; HWCOMP_STORE, or the one in your data folder if not given."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
File = Annotated[Path, typer.Argument(help="Its ending decides: .jsonl or .parquet.", metavar="FILE")]


@app.callback()
def main() -> None:
    """Measure the kernels of a device, and keep their latencies.

    With MODEL: those that its search space needs. Without: a designed sample of all kinds.
    """


@app.command(MEASURE, hidden=True)
def measure(
    model: Annotated[str | None, typer.Argument(help="model.py, or model.py:NAME.", metavar="MODEL")] = None,
    target: Annotated[
        str, typer.Option("--target", "-t", help="host, arm, gpu, ... or the path of a .toml file.")
    ] = "host",
    device: Annotated[
        list[str] | None,
        typer.Option(help="local (if not given), ssh://USER@HOST, emulated; repeat to share the work."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the runtime; all cores if not given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long, with what is done by then.")] = None,
    store: StorePath = None,
    force_fingerprint: Annotated[
        bool, typer.Option("--force-fingerprint", help="Measure even if the device is not what the target says.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the kernels of a model or of a designed sample."""
    from hwcomp import profile_command

    profile_command.profile(
        model, target=target, devices=tuple(device or ["local"]), threads=threads, minutes=minutes, store=store,
        force_fingerprint=force_fingerprint, as_json=as_json,
    )  # fmt: skip


@app.command("list")
def list_settings(store: StorePath = None, as_json: AsJson = False) -> None:
    """List the devices, runtimes and threads that latencies are kept of."""
    from hwcomp import store_commands

    store_commands.list_settings(store, as_json=as_json)


@app.command()
def show(
    device: Annotated[str, typer.Option(help="Only devices whose name contains this.")] = "",
    kernel: Annotated[str, typer.Option(help="Only kernels whose description contains this.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 50,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Show the latencies of kernels."""
    from hwcomp import store_commands

    store_commands.show(store, device, kernel, limit, as_json=as_json)


@app.command()
def prune(
    device: Annotated[str | None, typer.Option(help="Only devices whose name contains this.")] = None,
    older_than: Annotated[float | None, typer.Option(min=0, help="Only rows older than so many days.")] = None,
    other_runtimes: Annotated[
        bool, typer.Option("--other-runtimes", help="Only rows of other versions of the runtime than the one here.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every row.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StorePath = None,
) -> None:
    """Remove latencies, after showing which."""
    from hwcomp import store_commands

    store_commands.prune(store, device, older_than, other_runtimes=other_runtimes, everything=everything, yes=yes)


@app.command("export")
def export_file(file: File, store: StorePath = None) -> None:
    """Write all latencies to a file, for another machine."""
    from hwcomp import store_commands

    store_commands.export(store, file)


@app.command("import")
def import_file(file: File, store: StorePath = None) -> None:
    """Take the latencies of a file in, all or none; where both know one, the newer stays."""
    from hwcomp import store_commands

    store_commands.import_file(store, file)
