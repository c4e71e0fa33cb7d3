"""`hwcomp profile` as a user runs it: the store is filled once, used by `hwcomp compile`, and never with wrong rows."""

import json
import platform
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hwcomp.profile_command import RUNS
from hwcomp.store import RunRow, Store

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "model.py"
OTHER = "x86_64" if platform.machine().lower() in ("arm64", "aarch64") else "arm"
"""A target of another architecture than this machine."""

MODEL = """
import torch
from torch import nn

example_inputs = (torch.zeros(1, 8, 24, 24),)


def model():
    torch.manual_seed(0)
    layers = [layer for _ in range(8) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def calibration_data():
    yield torch.randn(2, 8, 24, 24, generator=torch.Generator().manual_seed(1))
"""


def table_line(out: str) -> str:
    (line,) = [line for line in out.splitlines() if line.startswith("Table")]
    return line


def kept_runs(cli: Any) -> list[RunRow]:
    if not cli.store.exists():
        return []
    store = Store(cli.store)
    return [row for summary in store.settings() for row in store.runs(summary.setting)]


@pytest.fixture(scope="module")
def profiled(cli_in: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """Return (command, what it printed) of a profile of the digits example on this machine."""
    cli = cli_in(tmp_path_factory.mktemp("profiled"))
    done = cli("profile", DIGITS, "--target", "host", "--threads", 1, "--json")
    assert done.code == 0, done.err
    return cli, json.loads(done.out)


def test_a_model_fills_the_store(profiled: Any) -> None:
    """The summary is JSON and nothing else; the rows are there, and valid."""
    cli, summary = profiled
    assert summary["provenance"] == "measured"
    assert summary["threads"] == 1
    assert summary["measured_now"] == summary["kernels"] > 30
    assert summary["held_out"] > RUNS / 2, "runs of a disturbed machine are left out, at most half of them"
    assert 0 < summary["error"] < 1
    assert summary["float_us"] > 10
    (listed,) = Store(cli.store).settings()
    assert (listed.setting.device, listed.setting.runtime) == (summary["device"], summary["runtime"])
    assert listed.kernels == summary["kernels"]
    assert listed.provenances == ("measured",)
    rows = Store(cli.store).all_kernels(listed.setting)
    assert {row.method for row in rows} == {"network"}
    assert any(row.kernel.startswith("conv2d|int8:") for row in rows)
    assert any(row.kernel.startswith("dequantize|") for row in rows)


def test_the_list_shows_it(profiled: Any) -> None:
    cli, summary = profiled
    (entry,) = json.loads(cli.succeeds("profile", "list", "--json"))
    assert entry["setting"]["device"] == summary["device"]
    assert entry["setting"]["threads"] == 1
    assert entry["kernels"] == summary["kernels"]
    assert "onnxruntime" in cli.succeeds("profile", "list")


def test_a_compilation_takes_the_kernels_from_the_store(profiled: Any) -> None:
    """It says so, with the error of the table and what that was found on; no row is added or replaced."""
    cli, summary = profiled
    store = Store(cli.store)
    (listed,) = store.settings()
    before = store.all_kernels(listed.setting), store.runs(listed.setting)
    out = cli.succeeds("compile", DIGITS, "--threads", 1, "--calibration", 16, "--out", "out")
    line = table_line(out)
    assert f"{summary['kernels']} kernels, all in the store" in line
    assert "+-" in line
    assert f"on {summary['held_out']} held-out assignments" in line
    assert "measured now" not in out
    assert (store.all_kernels(listed.setting), store.runs(listed.setting)) == before
    manifest = json.loads((cli.folder / "out" / "manifest.json").read_text())
    assert manifest["compiled"]["latency_us"]["provenance"] == "measured"


def test_a_second_profile_measures_nothing(profiled: Any) -> None:
    cli, summary = profiled
    again = json.loads(cli.succeeds("profile", DIGITS, "--threads", 1, "--json"))
    assert again["measured_now"] == 0
    assert again["kernels"] == summary["kernels"]


def test_another_store_is_left_alone(cli: Any) -> None:
    cli.write(MODEL)
    cli.succeeds("profile", "model.py", "--threads", 1, "--store", "other.sqlite")
    assert not cli.store.exists()
    assert [row for row in Store(cli.folder / "other.sqlite").settings() if row.kernels]


def wait_for_rows(cli: Any, process: "subprocess.Popen[str]", count: int) -> None:
    for _ in range(1200):
        if len(kept_runs(cli)) >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("no rows were kept")


def test_an_interrupted_profile_keeps_its_rows_and_goes_on(cli: Any) -> None:
    """Ctrl-C while whole networks are timed: what is done is there, and is not done again."""
    cli.write(MODEL)
    command = ("profile", "model.py", "--threads", 1)
    process = cli.start(*command)
    wait_for_rows(cli, process, 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "hwcomp: interrupted" in err
    assert "Traceback" not in err
    kept = kept_runs(cli)
    assert kept
    assert Store(cli.store).all_kernels(Store(cli.store).settings()[0].setting) == []
    assert "kernels measured now" in table_line(cli.succeeds(*command))
    after = {str(sorted(row.assignment.items())): row for row in kept_runs(cli)}
    assert len(after) > len(kept)
    for row in kept:
        assert after[str(sorted(row.assignment.items()))] == row


@pytest.mark.slow
def test_a_general_profile_ends_with_the_time(cli: Any) -> None:
    """In a sentence: a model and what it is worth, or that there are too few kernels for one; rows are kept."""
    done = cli("profile", "--target", "host", "--threads", 1, "--minutes", 0.2)
    assert "Traceback" not in done.out + done.err
    (listed,) = Store(cli.store).settings()
    assert listed.kernels > 20
    if done.code == 0:
        assert "predicted within 10 %" in done.out
        assert list(cli.folder.glob("latency-models/*.json"))
    else:
        sentence = done.sentence()
        assert f"{listed.kernels} kernels were measured" in sentence
        assert "too few for a model" in sentence
        assert "--minutes" in sentence
    rows = Store(cli.store).all_kernels(listed.setting)
    assert {row.method for row in rows} == {"alone"}


def test_minutes_are_for_a_general_profile(cli: Any) -> None:
    cli.write(MODEL)
    assert "--minutes is for a general profile" in cli("profile", "model.py", "--minutes", 1).sentence()
    for minutes in ("0", "-1", "nan"):
        sentence = cli("profile", "--minutes", minutes).sentence()
        assert "--minutes must be more than 0" in sentence
    assert not cli.store.exists() or not Store(cli.store).settings()


def test_another_device_than_the_target_is_refused(cli: Any) -> None:
    """Both sides are named; nothing is measured unless it is insisted on."""
    cli.write(MODEL)
    sentence = cli("profile", "model.py", "--target", OTHER, "--device", "local").sentence()
    assert "'local'" in sentence
    assert f"it is {platform.machine()}" in sentence
    assert "--force-fingerprint" in sentence
    assert not cli.store.exists() or not Store(cli.store).settings()


@pytest.mark.slow
def test_the_brave_may_measure_another_device(cli: Any) -> None:
    """Under its own name: the rows are never taken for those of the target."""
    cli.write(MODEL)
    command = ("profile", "model.py", "--target", OTHER, "--threads", 1, "--force-fingerprint", "--json")
    summary = json.loads(cli.succeeds(*command))
    assert summary["measured_now"] > 10
    assert "Cortex-A72" not in summary["device"]
    out = cli.succeeds("compile", "model.py", "--target", OTHER, "--calibration", 2, "--out", "out")
    assert "measured on" not in out
    assert "ms measured" not in out


@pytest.mark.parametrize("device", ["usb", "ssh://", "ssh://host:port", "", "emulated"])
def test_a_device_that_is_none_is_refused(cli: Any, device: str) -> None:
    sentence = cli("profile", "--device", device, "--minutes", 1).sentence()
    assert device in sentence or "emulated" in sentence
    assert not cli.store.exists() or not Store(cli.store).settings()


def test_a_store_that_is_none_is_refused_before_anything_is_measured(cli: Any) -> None:
    cli.write("not a store", "notes.txt")
    cli.write(MODEL)
    sentence = cli("profile", "model.py", "--store", "notes.txt").sentence()
    assert "'notes.txt' is not a latency store" in sentence
    assert (cli.folder / "notes.txt").read_text() == "not a store"
