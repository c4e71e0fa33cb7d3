"""The README's commands run as written, in a folder with the model.py that `hwcomp init` writes."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import forked
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("hwcomp ")
]
NOT_HERE = ("ssh://", "--device emulated", "profile --target host", "--method")
"""What needs a board, an emulator, training or a quarter of an hour: its options are checked, other tests run it."""

OUT_OF_REACH = 3
"""A budget of the README may be out of reach of the small network on the machine at hand; then it must say so."""


def hwcomp(command: str, folder: Path) -> forked.Done:
    return forked.hwcomp(shlex.split(command)[1:], folder, os.environ)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    assert hwcomp("hwcomp init", folder).code == 0
    for out in ("build/resnet50-host", "other"):
        assert hwcomp(f"hwcomp compile model.py --target arm --calibration 2 --out {out}", folder).code == 0
    np.save(folder / "x.npy", np.zeros((1, 3, 32, 32), np.float32))
    return folder


def test_there_are_commands() -> None:
    assert {command.split()[1] for command in COMMANDS} == {"doctor", "compile", "bench", "run", "profile", "verify"}


@pytest.mark.parametrize("command", [one for one in COMMANDS if any(text in one for text in NOT_HERE)])
def test_options_exist(folder: Path, command: str) -> None:
    words = shlex.split(command)
    known = hwcomp(f"hwcomp {words[1]} --help", folder).out
    assert all(word in known for word in words if word.startswith("--"))


@pytest.mark.parametrize("command", [one for one in COMMANDS if not any(text in one for text in NOT_HERE)])
def test_command_runs_as_written(folder: Path, command: str) -> None:
    done = hwcomp(command, folder)
    allowed = (0, OUT_OF_REACH) if "--speedup" in command or "--latency" in command else (0,)
    assert done.code in allowed, done.err
    assert "Traceback" not in done.err


def test_make_lists_what_the_readme_names() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"demo", "test", "bench"} <= {line.split()[0] for line in listed.splitlines() if line}
