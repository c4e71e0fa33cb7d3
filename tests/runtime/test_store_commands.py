"""`hwcomp profile list`, `show`, `prune`, `export` and `import`, as a user runs them."""

import json
import os
import pty
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwcomp.fingerprint import environment
from hwcomp.store import KernelRow, Observation, RunRow, Setting, Store

HERE = f"onnxruntime {environment()['onnxruntime']}"
BOARD = Setting(device="cpu: Cortex-A72 [red]4 cores[/red]", runtime=HERE, threads=2)
OLD = Setting(device="cpu: EPYC", runtime="onnxruntime 1.22.0", threads=1)
KERNEL = KernelRow(
    kernel="conv2d|float|1x3x8x8", method="network", median_us=20.5, p10_us=19.0, p90_us=24.25, runs=40,
    date="2026-11-22T08:00:00+00:00", provenance="measured",
)  # fmt: skip
MODELLED = replace(KERNEL, kernel="linear|int8|1x10", provenance="simulated", error=0.15)
RUN = RunRow(
    network="5f2a", assignment={"stem": "float"}, median_us=900.0, p10_us=880.0, p90_us=990.0, runs=9,
    date="2026-11-22", provenance="measured", control_us=1500.0,
)  # fmt: skip


@pytest.fixture
def store(cli: Any, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a store with rows of two devices, which the command finds by the environment."""
    path = cli.folder / "latency.sqlite"
    monkeypatch.setenv("HWCOMP_STORE", str(path))
    store = Store(path)
    store.add_kernels(BOARD, [KERNEL, MODELLED])
    store.add_runs(BOARD, [RUN])
    store.observe(BOARD, Observation(governor="performance", clock_mhz=1500.0))
    store.add_kernels(OLD, [replace(KERNEL, date="2026-01-01")])
    return store


def test_list(cli: Any, store: Store) -> None:
    """Every setting with what is held of it; names are printed as they are."""
    shown = cli.succeeds("profile", "list")
    for word in (
        "4 cores[/red]",
        "1.22.0",
        "measured, simulated",
        "governor performance",
        "1500 MHz",
        "2 kernels, 1 whole networks",
        "2026-01-01",
    ):
        assert word in shown
    listed = json.loads(cli.succeeds("profile", "list", "--json"))
    assert [(entry["setting"]["device"], entry["kernels"], entry["runs"]) for entry in listed] == [
        (BOARD.device, 2, 1),
        (OLD.device, 1, 0),
    ]


def test_show(cli: Any, store: Store) -> None:
    """Chosen by device and kernel, up to a limit, which is said."""
    assert "simulated +- 15%" in cli.succeeds("profile", "show", "--device", "cortex")
    assert "conv2d" not in cli.succeeds("profile", "show", "--kernel", "LINEAR")
    assert "more than these 1" in cli.succeeds("profile", "show", "--limit", 1)
    rows = json.loads(cli.succeeds("profile", "show", "--device", "EPYC", "--json"))
    assert [(row["device"], row["kernel"], row["median_us"]) for row in rows] == [(OLD.device, KERNEL.kernel, 20.5)]
    assert "No such kernels" in cli.succeeds("profile", "show", "--device", "no such")


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_export_and_import(cli: Any, store: Store, ending: str) -> None:
    """Everything moves; other versions of the runtime are kept apart, and it is said."""
    assert "Wrote 4 rows" in cli.succeeds("profile", "export", f"table{ending}")
    said = cli.succeeds("profile", "import", f"table{ending}", "--store", "other/latency.sqlite")
    assert f"{BOARD.device}, {HERE}, 2 threads: 3 new" in said
    assert f"{OLD.device}, {OLD.runtime}, 1 thread: 1 new" in said
    assert f"Kept apart: rows of onnxruntime 1.22.0; here is {HERE}" in said
    other = Store(cli.folder / "other" / "latency.sqlite")
    assert list(other.every_row()) == list(store.every_row())
    assert other.settings() == store.settings()
    other.add_kernels(BOARD, [replace(KERNEL, date="2026-11-23"), replace(MODELLED, date="2026-11-21")])
    said = cli.succeeds("profile", "import", f"table{ending}", "--store", "other/latency.sqlite")
    assert "1 replaced by newer ones, 1 there already, 1 older than what is there, left out" in said


def test_import_tells_file_line_and_reason(cli: Any, store: Store) -> None:
    """And nothing of the file is taken."""
    cli.succeeds("profile", "export", "table.jsonl")
    path = cli.folder / "table.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    before = list(store.every_row())
    path.write_text("".join([*lines[:3], lines[2].replace("20.5", "-20.5"), *lines[3:]]))
    sentence = cli("profile", "import", "table.jsonl").sentence()
    for word in ("'table.jsonl', line 4:", "median_us must be a finite number above zero", "nothing was imported"):
        assert word in sentence
    assert list(store.every_row()) == before
    assert "No file 'none.jsonl'" in cli("profile", "import", "none.jsonl").sentence()
    cli.write("rows", "table.csv")
    assert "must end in .jsonl or .parquet" in cli("profile", "import", "table.csv").sentence()
    assert "cannot be written" in cli("profile", "export", "no/folder/table.jsonl").sentence()


def test_parquet_without_its_library(cli: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says what to install; JSON lines need nothing."""
    hidden = cli.folder / "hidden"
    hidden.mkdir()
    (hidden / "pyarrow.py").write_text("raise ModuleNotFoundError(\"No module named 'pyarrow'\", name='pyarrow')")
    monkeypatch.setenv("PYTHONPATH", str(hidden))
    for command in ("export", "import"):
        cli.write("", "table.parquet")
        sentence = cli("profile", command, "table.parquet").sentence()
        assert "pip install 'hwcomp[parquet]'" in sentence
        assert ".jsonl" in sentence
    cli.succeeds("profile", "export", "table.jsonl")


def test_prune(cli: Any, store: Store) -> None:
    """What would go is shown; nothing goes before somebody has said so."""
    assert "Say what to remove" in cli("profile", "prune").sentence()
    assert "Say what to remove" in cli("profile", "prune", "--all", "--device", "x").sentence()
    assert "--yes" in cli("profile", "prune", "--all").sentence()
    assert len(list(store.every_row())) == 4
    assert "Nothing to remove" in cli.succeeds("profile", "prune", "--device", "no such", "--yes")
    said = cli.succeeds("profile", "prune", "--other-runtimes", "--yes")
    assert "1 rows  cpu: EPYC, onnxruntime 1.22.0, 1 thread" in said
    assert [summary.setting for summary in store.settings()] == [BOARD]
    assert "Removed 3 rows" in cli.succeeds("profile", "prune", "--all", "--yes")
    assert "No latencies yet" in cli.succeeds("profile", "list")


def test_prune_older_than(cli: Any, store: Store) -> None:
    """Days count from now."""
    store.add_kernels(OLD, [replace(KERNEL, kernel="new", date="2999-01-01")])
    said = cli.succeeds("profile", "prune", "--older-than", 1, "--device", "EPYC", "--yes")
    assert "Removed 1 rows" in said
    assert set(store.kernels(OLD)) == {"new"}


def answered(cli: Any, answer: bytes, *arguments: str) -> str:
    """Run a command in a terminal and answer its question; return what was shown."""
    controller, terminal = pty.openpty()
    command = [str(value) for value in cli.start.__globals__["COMMAND"].parts]
    process = subprocess.Popen(
        [str(Path(*command)), *arguments], cwd=cli.folder, env=cli.environment, stdin=terminal, stdout=terminal,
        stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    os.write(controller, answer)
    shown = b""
    try:
        while part := os.read(controller, 4096):
            shown += part
    except OSError:  # the terminal is closed when the process ends
        pass
    os.close(controller)
    assert process.wait(timeout=60) == 0, shown
    return shown.decode()


def test_prune_asks(cli: Any, store: Store) -> None:
    """No is no, yes is yes."""
    assert "Nothing was removed" in answered(cli, b"n\n", "profile", "prune", "--all")
    assert len(list(store.every_row())) == 4
    assert "Removed 4 rows" in answered(cli, b"y\n", "profile", "prune", "--all")
    assert list(store.every_row()) == []


@pytest.mark.parametrize("command", ["list", "show", "prune --all --yes", "export table.jsonl", "import table.jsonl"])
def test_a_file_that_is_no_store(cli: Any, store: Store, command: str) -> None:
    """Every command says so, and leaves the file as it is."""
    cli.succeeds("profile", "export", "table.jsonl")
    cli.write("mine\n" * 500, "notes.txt")
    words = command.split()
    sentence = cli("profile", *words, "--store", "notes.txt").sentence()
    assert "'notes.txt' is not a latency store" in sentence
    assert (cli.folder / "notes.txt").read_text() == "mine\n" * 500


def test_a_store_that_is_not_there(cli: Any) -> None:
    """A path that was typed must exist, unless it is imported into."""
    for command in (("list",), ("show",), ("prune", "--all", "--yes"), ("export", "table.jsonl")):
        assert "no latency store at 'none'" in cli("profile", *command, "--store", "none").sentence()
    assert cli.files() == set()


def test_help_shows_both_kinds(cli: Any) -> None:
    """The options of measuring, and the commands."""
    shown = cli.succeeds("profile", "--help")
    for word in ("[MODEL]", "--minutes", "--force-fingerprint", "list", "show", "prune", "export", "import"):
        assert word in shown
    assert "--limit" in cli.succeeds("profile", "show", "-h")
    done = cli("profile", "lst")
    assert done.code == 2
    assert "did you mean 'list'" in done.err


def test_what_is_no_command_is_measured(cli: Any, store: Store) -> None:
    """A model or an option in the first place leads to measuring, which says what is wrong with it."""
    assert "No file 'none.py'" in cli("profile", "none.py", "--target", "host").sentence()
    assert "No target 'arn'" in cli("profile", "--target", "arn").sentence()
