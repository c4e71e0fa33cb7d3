"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="model.py, or model.py:NAME for another factory in it.", metavar="MODEL")]
TargetName = Annotated[str, typer.Option("--target", "-t", help="host, arm, gpu, ... or the path of a .toml file.")]
Artifact = Annotated[Path, typer.Argument(help="Folder that `hwcomp compile` wrote.", metavar="ARTIFACT")]
Device = Annotated[str, typer.Option(help="Where: local, ssh://\\[user@]host[:port], or emulated.")]
TuningDatabase = Annotated[
    Path | None,
    typer.Option(help="Of `hwcomp tune`'s schedules, for --runtime tvm; those of this machine if not given."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the runtime; all cores if not given.")]
