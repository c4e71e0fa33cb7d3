"""A compilation that is interrupted or killed goes on from its finished stages; a damaged result is made again."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hwcomp.store import Store

COMMAND = ("compile", "model.py", "--threads", 1, "--calibration", 2, "--out", "out")


def wait_for(process: "subprocess.Popen[str]", stage: str) -> None:
    """Read what a compilation prints until a stage is done."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(stage):
            return
    raise AssertionError(f"{stage} was never done: {process.communicate()}")


def kept(cli: Any) -> dict[Path, int]:
    """Return when each finished stage was written."""
    return {path: path.stat().st_mtime_ns for path in cli.cache.rglob("*") if path.is_file()}


@pytest.fixture
def ready(cli: Any, tiny_source: str) -> Any:
    cli.write(tiny_source)
    return cli


def test_interrupted_killed_and_finished(ready: Any) -> None:
    """Ctrl-C while measuring, then SIGKILL after it, then the end: each run starts where the one before stopped."""
    process = ready.start(*COMMAND)
    wait_for(process, "Calibrate")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "hwcomp: interrupted" in err
    assert not (ready.folder / "out" / "manifest.json").exists()
    exported = kept(ready)
    assert {path.parent.name for path in exported} >= {"plain", "float"}

    process = ready.start(*COMMAND)
    wait_for(process, "Table")
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (ready.folder / "out" / "manifest.json").exists()
    measured = kept(ready)
    assert exported.items() <= measured.items()
    store = Store(ready.store)
    (setting,) = (summary.setting for summary in store.settings())
    rows = store.all_kernels(setting), store.runs(setting)
    assert all(rows)

    out = ready.succeeds(*COMMAND)
    assert "all in the store" in next(line for line in out.splitlines() if line.startswith("Table"))
    assert measured.items() <= kept(ready).items()
    assert (store.all_kernels(setting), store.runs(setting)) == rows
    assert {"model.onnx", "manifest.json", "report.html"} <= {path.name for path in (ready.folder / "out").iterdir()}


@pytest.mark.slow
def test_damaged_results_are_made_again(ready: Any) -> None:
    """Cut off, emptied or overwritten: what is in the cache is checked, and the outcome is the same."""
    command = (*COMMAND, "--target", "arm")
    ready.succeeds(*command)
    model = (ready.folder / "out" / "model.onnx").read_bytes()
    good = {path: path.read_bytes() for path in kept(ready)}
    assert {path.parent.name for path in good} == {"plain", "float", "sensitivity"}
    for path, content in good.items():
        path.write_bytes(content[: len(content) // 2])
    ready.succeeds(*command)
    assert (ready.folder / "out" / "model.onnx").read_bytes() == model
    for path, content in good.items():
        again = path.read_bytes()
        assert again == content or path.suffix == ".bin"
        assert len(again) > len(content) // 2
