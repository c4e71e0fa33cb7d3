"""What ``hwcomp profile list``, ``show``, ``prune``, ``export`` and ``import`` do, and what they print."""

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hwcomp.console import Reporter
from hwcomp.errors import InputError
from hwcomp.store import KernelRow, Pruning, Setting, SettingSummary, Store, now
from hwcomp.store.database import PATH_VARIABLE
from hwcomp.store.exchange import export_rows, import_rows
from hwcomp.store.staging import Merged

RUNTIME = "onnxruntime"


def list_settings(path: Path | None, *, as_json: bool) -> None:
    """Print what is in the store, by setting."""
    store = _existing(path)
    summaries = store.settings()
    if as_json:
        print(json.dumps([asdict(summary) for summary in summaries], indent=2))
        return
    console = Console()
    if not summaries:
        _say(console, f"No latencies yet in {store.path}; `hwcomp profile` measures some.")
        return
    for summary in summaries:
        _say(console, _name(summary.setting))
        _say(console, f"    {_held(summary)}")
    _say(console, str(store.path))


def show(path: Path | None, device: str, kernel: str, limit: int, *, as_json: bool) -> None:
    """Print latencies of kernels."""
    store = _existing(path)
    rows = store.find_kernels(device, kernel, limit + 1)
    if as_json:
        print(json.dumps([asdict(setting) | asdict(row) for setting, row in rows[:limit]], indent=2))
        return
    console = Console()
    if not rows:
        _say(console, f"No such kernels in {store.path}; `hwcomp profile list` shows which devices there are.")
        return
    for setting in dict.fromkeys(setting for setting, _ in rows[:limit]):
        _say(console, _name(setting))
        console.print(_kernel_table(row for found, row in rows[:limit] if found == setting))
    if len(rows) > limit:
        _say(console, f"There are more than these {limit}: --limit shows more, --device and --kernel choose.")


def _kernel_table(rows: Iterable[KernelRow]) -> Table:
    table = Table("median us", "p10", "p90", "runs", "provenance", "date", "kernel", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        times = (f"{us:.4g}" for us in (row.median_us, row.p10_us, row.p90_us))
        kind = row.provenance if row.error == 0 else f"{row.provenance} +- {row.error:.0%}"
        where = "" if row.method == "network" else " (alone)"
        table.add_row(*times, str(row.runs), kind, _day(row.date), Text(f"{row.kernel}{where}", overflow="fold"))
    return table


def prune(
    path: Path | None,
    device: str | None,
    older_than: float | None,
    *,
    other_runtimes: bool,
    everything: bool,
    yes: bool,
) -> None:
    """Show what would go, ask, and remove it."""
    conditions = device is not None or older_than is not None or other_runtimes
    if everything == conditions:
        raise InputError("Say what to remove: --device, --older-than and --other-runtimes together, or --all alone.")
    pruning = Pruning(
        device=device,
        keep_runtime=_current_runtime() if other_runtimes else None,
        before=None if older_than is None else now(days_ago=older_than),
    )
    store, console = _existing(path), Console()
    rows = store.prunable(pruning)
    if not rows:
        _say(console, "Nothing to remove.")
        return
    for setting, number in rows.items():
        _say(console, f"{number:>8} rows  {_name(setting)}")
    if not yes and not _confirmed(sum(rows.values()), store.path):
        _say(console, "Nothing was removed.")
        return
    _say(console, f"Removed {store.prune(pruning)} rows.")


def _confirmed(number: int, path: Path) -> bool:
    if not sys.stdin.isatty():
        raise InputError("Nothing was removed: nobody can be asked here; --yes removes without asking.")
    return typer.confirm(f"Remove these {number} rows from {path}?")


def export(path: Path | None, file: Path) -> None:
    """Write the store to a file."""
    store, console = _existing(path), Console()
    with Reporter(console).stage("Export").bar("writing") as bar:
        number = export_rows(store, file, bar.share)
    _say(console, f"Wrote {number} rows to {file}.")


def import_file(path: Path | None, file: Path) -> None:
    """Take a file into the store, and say what came of it."""
    console = Console()
    if not file.is_file():
        raise InputError(f"No file '{file}'.")
    store = Store(path)
    with Reporter(console).stage("Import").bar("reading") as bar:
        merged = import_rows(store, file, bar.share)
    for one in merged:
        _say(console, f"{_name(one.setting)}: {_outcome(one)}")
    if not merged:
        _say(console, f"There are no rows in {file}.")
    others = sorted({one.setting.runtime for one in merged} - {_current_runtime()})
    if others:
        here = _current_runtime()
        _say(console, f"Kept apart: rows of {', '.join(others)}; here is {here}, and its predictions leave them out.")


def _outcome(merged: Merged) -> str:
    parts = (
        (merged.new, "new"),
        (merged.replaced, "replaced by newer ones"),
        (merged.same, "there already"),
        (merged.older, "older than what is there, left out"),
    )
    return ", ".join(f"{number} {what}" for number, what in parts if number)


def _existing(path: Path | None) -> Store:
    """Return the store to look at; a path that somebody has typed must lead to one."""
    if path is not None and not path.exists():
        raise InputError(f"There is no latency store at '{path}'; give another --store, or none for {PATH_VARIABLE}.")
    return Store(path)


def _current_runtime() -> str:
    for package in (RUNTIME, f"{RUNTIME}-gpu"):
        with suppress(PackageNotFoundError):
            return f"{RUNTIME} {version(package)}"
    return f"no {RUNTIME}"


def _name(setting: Setting) -> str:
    return f"{setting.device}, {setting.runtime}, {setting.threads} thread{'s' * (setting.threads != 1)}"


def _held(summary: SettingSummary) -> str:
    """Return what there is of a setting: numbers, kinds, dates, and how the device was found."""
    parts = [
        f"{summary.kernels} kernels, {summary.runs} whole networks",
        ", ".join(summary.provenances),
        " to ".join(dict.fromkeys((_day(summary.first_date), _day(summary.last_date)))),
    ]
    if summary.observation is not None:
        governor, clock = summary.observation.governor, summary.observation.clock_mhz
        found = (governor and f"governor {governor}", clock and f"{clock:.0f} MHz", _day(summary.observation_date))
        parts.append(f"found: {', '.join(part for part in found if part)}")
    return "; ".join(part for part in parts if part)


def _day(date: str | None) -> str:
    return date[:10] if date else ""


def _say(console: Console, sentence: str) -> None:
    """Print plain text: what comes from files is never taken for markup."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
