"""What each command does: from options to calls of the library, and what is printed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from hwcomp import artifact as artifacts
from hwcomp.config import DEFAULT_MAX_DROP, OPTIONS, Budget, CompileConfig, Fastest, Latency, Shrinking, Speedup
from hwcomp.console import Reporter
from hwcomp.errors import BudgetError, InputError
from hwcomp.manifest import Manifest
from hwcomp.search_options import SearchOptions
from hwcomp.target import ALIASES, HOST, available, load, source

SHRINKING = {name: OPTIONS.get(name, name) for name in Shrinking.model_fields}
"""Field of the configuration of methods that train -> option."""

SEARCHING = {
    name: OPTIONS.get(name, name) for name in SearchOptions.model_fields if name not in {"warmup", "choice_rate"}
}
"""Field of the configuration of the differentiable search -> option."""


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """The options of ``hwcomp compile`` as they were typed."""

    target: str
    latency: str | None
    speedup: str | None
    max_drop: float | None
    calibration: int
    threads: int | None
    seed: int
    out: Path | None
    force: bool
    ranges: str
    dry_run: bool
    device: str | None
    runtime: str
    precision: str | None
    database: Path | None
    store: Path | None
    method: str
    prune_rate: float | None
    density: str | None
    pattern: str
    epochs: int | None
    minutes: float | None
    learning_rate: float | None
    clip: float | None
    mixed_precision: str
    importance: str | None
    steps: int
    from_scratch: bool
    paper: bool
    recovery: float
    tensorboard: Path | None
    estimator: str
    latency_term: str
    search_share: float
    filter_share: float
    fixed_widths: bool
    sparse: bool
    search_level: str
    search_order: int
    weight_noise: float
    controls: bool
    seeds: int
    pareto: int | None

    def config(self) -> CompileConfig:
        """Return the checked configuration.

        Raises:
            InputError: an option makes no sense, or two contradict each other.
        """
        budget = self._budget()
        shrinking = {name: getattr(self, option) for name, option in SHRINKING.items()}
        searching = {name: getattr(self, option) for name, option in SEARCHING.items()}
        elsewhere = {"latency", "speedup", "max_drop", *SHRINKING.values(), *SEARCHING.values()}
        given = {key: value for key, value in vars(self).items() if key not in elsewhere}
        try:
            return CompileConfig(
                budget=budget, shrinking=Shrinking(**shrinking), searching=SearchOptions(**searching), **given
            )
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            renamed = {Shrinking.__name__: SHRINKING, SearchOptions.__name__: SEARCHING}.get(error.title, {})
            option = renamed.get(name, name).replace("_", "-")
            raise InputError(f"Option --{option}: {first['msg']} (found {first['input']!r}).") from error

    def _budget(self) -> Budget:
        if self.latency is not None and self.speedup is not None:
            raise InputError("Give --latency or --speedup, not both.")
        if self.latency is not None:
            return Latency(self.latency, self.max_drop)
        if self.speedup is not None:
            return Speedup(self.speedup, self.max_drop)
        return Fastest(DEFAULT_MAX_DROP if self.max_drop is None else self.max_drop)


def compile_model(model: str, options: CompileOptions, *, as_json: bool) -> None:
    """Compile, and print the report or the manifest."""
    config = options.config()
    load(config.target)
    console = Console(stderr=as_json)
    with console.status("loading the model"):
        from hwcomp.pipeline import compile_workload
        from hwcomp.workload import load_workload

        workload = load_workload(model)
    reporter = Reporter(console)
    if config.dry_run:
        from hwcomp.dry_run import plan_of

        plan_of(workload, config, reporter)
        return
    try:
        result = compile_workload(workload, config, reporter)
    except BudgetError as error:
        if isinstance(error.report, Manifest):
            _show(error.report, console, as_json=as_json)
        raise
    _show(result.report, console, as_json=as_json)
    names = f"{artifacts.model_name(result.report)}, {artifacts.MANIFEST}, {artifacts.REPORT}"
    console.print(f"           {result.artifact} ({names})", highlight=False, soft_wrap=True)


def _show(manifest: Manifest, console: Console, *, as_json: bool) -> None:
    if as_json:
        print(manifest.model_dump_json(indent=2))
        return
    from hwcomp.report import render_terminal

    console.print(render_terminal(manifest))


def bench(folder: Path, against: Path | None, rounds: int, threads: int | None, device: str) -> None:
    """Time an artifact against another one, an ONNX file, or the float network it was made from."""
    from hwcomp.benching import compare_artifacts

    console = Console()
    compare_artifacts(folder, against, rounds, threads, device, Reporter(console))


def run(folder: Path, inputs: list[Path], output: Path, threads: int | None, provider: str | None) -> None:
    """Run an artifact on arrays from .npy files."""
    from hwcomp.runtime import load as load_artifact

    session = load_artifact(folder, threads, provider)
    result = session(*(_read_array(path) for path in inputs))
    arrays: Any = result if isinstance(result, tuple) else (result,)
    for index, array in enumerate(arrays):
        path = output if len(arrays) == 1 else output.with_name(f"{output.stem}_{index}.npy")
        try:
            np.save(path, array, allow_pickle=False)
        except OSError as error:
            raise InputError(f"'{path}' cannot be written: {error.strerror or error}.") from error


def _read_array(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"'{path}' is not a plain .npy array: {error}.") from error


def doctor(model: str | None, target: str, threads: int | None) -> None:
    """Print what is installed and usable, and what can be done with a model."""
    from hwcomp.diagnosis import diagnose_environment, diagnose_model

    console = Console()
    diagnose_environment(console)
    if model is not None:
        from hwcomp.workload import load_workload

        config = CompileConfig(target=target, threads=threads)
        diagnose_model(load_workload(model), config, Reporter(console))


def targets(action: str | None, name: str | None) -> None:
    """List the targets, or print one."""
    console = Console()
    if action is None:
        table = Table("target", "machine", "activations", "description")
        for known in available():
            target = load(known)
            shown = f"{known} -> {target.name}" if known in ALIASES else known
            table.add_row(shown, target.machine, target.activation, target.description)
        console.print(table)
        return
    if action != "show" or name is None:
        raise InputError("Write `hwcomp targets`, or `hwcomp targets show NAME`.")
    if name == HOST:
        console.print_json(load(HOST).model_dump_json())
        return
    target = load(name)
    text = Path(name).read_text() if name.endswith(".toml") else source(target.name)
    print(text, end="")


def init(folder: Path) -> None:
    """Write a commented model.py."""
    from importlib.resources import files

    path = folder / "model.py"
    if path.exists():
        raise InputError(f"'{path}' exists already; give another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text((files("hwcomp") / "templates" / "model.py.txt").read_text())
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror or error}.") from error
    Console().print(f"Wrote {path}; fill it in, then: hwcomp compile {path} --target host", highlight=False)


def report(folder: Path, *, all_sites: bool) -> None:
    """Print the report of an artifact and write its HTML form anew."""
    from hwcomp.report import render_terminal, write_html

    manifest = artifacts.read(folder)
    console = Console()
    console.print(render_terminal(manifest, all_sites=all_sites))
    path = folder / artifacts.REPORT
    write_html(manifest, path)
    console.print(f"         {path}", highlight=False, soft_wrap=True)
