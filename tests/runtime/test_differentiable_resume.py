"""A search that is repeated, interrupted, or finds what belongs to another one."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from searching import BRIEF, SOURCE, Command

from hwcomp import artifact

PAUSE_S = 0.03
"""Time that a batch takes where a search is to be interrupted."""


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, dict[str, Any]]:
    """A search in one piece, and its manifest."""
    command = Command(tmp_path_factory.mktemp("brief"), tmp_path_factory.mktemp("cache")).write(SOURCE)
    return command, command.compile(*BRIEF)


@pytest.fixture
def search(tmp_path: Path, brief: tuple[Command, dict[str, Any]]) -> Command:
    """A command in another folder, with the cache of that search."""
    return Command(tmp_path, brief[0].cache).write(SOURCE)


def test_nothing_is_trained_twice(search: Command, brief: tuple[Command, dict[str, Any]]) -> None:
    """The same command takes every training from its checkpoint, also where the model lies in another folder."""
    again = search.compile(*BRIEF)
    for part in ("assignment", "widths", "search", "training", "files"):
        assert again[part] == brief[1][part]


def test_interrupted_and_resumed(tmp_path: Path, brief: tuple[Command, dict[str, Any]]) -> None:
    """Ctrl-C in the search: the same command goes on behind the last step, and ends as a search in one piece does."""
    shutil.copytree(brief[0].cache, tmp_path / "cache", ignore=shutil.ignore_patterns("training", "contest"))
    command = Command(tmp_path, tmp_path / "cache").write(SOURCE)
    process = command.start(*BRIEF, pause_s=PAUSE_S)
    wait_for(process, "epoch 1: expected")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "hwcomp: interrupted" in err
    assert "Traceback" not in err
    assert not out
    assert not (tmp_path / "out").exists()

    done = command.search(*BRIEF)
    assert done.code == 0
    assert "epoch 1: expected" not in done.err
    assert "epoch 3: expected" in done.err
    manifest = json.loads(done.out)
    for part in ("assignment", "widths", "search", "files"):
        assert manifest[part] == brief[1][part]


def wait_for(process: "subprocess.Popen[str]", text: str) -> None:
    """Read what a search tells of itself until a text is in it."""
    assert process.stderr is not None
    if not any(text in line for line in process.stderr):
        raise AssertionError(f"'{text}' was never said: {process.communicate()}")


def test_checkpoints_of_others_are_not_used(search: Command) -> None:
    """Of other goals or options under the same name, or cut off: it is said, and the search is done again."""
    own = Command(search.folder, search.folder / "cache").write(SOURCE)
    options = ("--speedup", "2.5x", "--epochs", 2)
    first = own.compile(*options)
    found, recovered = own.trainings
    content = found.read_bytes()
    found.write_bytes(recovered.read_bytes())
    recovered.write_bytes(content[: len(content) // 2])
    done = own.search(*options)
    assert done.code == 0, done.err
    assert f"'{found}' is of another model, data or options; it is not used" in done.err
    assert f"'{recovered}' is damaged" in done.err
    again = json.loads(done.out)
    for part in ("assignment", "widths", "search", "files"):
        assert again[part] == first[part]
    assert again["training"] != first["training"]


slow = pytest.mark.slow
CHANGES = [
    pytest.param(SOURCE.replace("32", "24"), (), id="network"),
    pytest.param(SOURCE.replace("manual_seed(0)", "manual_seed(1)"), (), id="weights", marks=slow),
    pytest.param(SOURCE, ("--target", "board.toml"), id="space", marks=slow),
    pytest.param(SOURCE, ("--speedup", "2.4x"), id="budget", marks=slow),
    pytest.param(SOURCE, ("--estimator", "gumbel"), id="estimator", marks=slow),
    pytest.param(SOURCE, ("--latency-term", "ratio_penalty"), id="latency term", marks=slow),
]


@pytest.mark.parametrize(("source", "options"), CHANGES)
def test_another_search_starts_anew(
    search: Command, brief: tuple[Command, dict[str, Any]], source: str, options: tuple[str, ...]
) -> None:
    """What is kept of a search is not taken for that of another network, space or goal."""
    board = search("targets", "show", "arm").out.replace('int8 = [\n    "conv2d", ', "int8 = [\n    ")
    (search.folder / "board.toml").write_text(board)
    manifest = search.write(source).compile(*BRIEF, *options)
    assert manifest["training"][0]["seconds"] != brief[1]["training"][0]["seconds"]
    if "board.toml" in options:
        assert set(manifest["assignment"]) <= {"fc", "mean_pool", "mean_flat"}


@pytest.mark.slow
def test_a_slower_device_is_searched_anew(search: Command) -> None:
    """The same network, space and latency with another table is another search."""
    shown, board = search("targets", "show", "arm").out, search.folder / "board.toml"
    found = []
    for clock in ("1.8", "1.6"):
        board.write_text(shown.replace("clock_ghz = 1.8", f"clock_ghz = {clock}"))
        found.append(search.compile("--target", "board.toml", "--latency", "0.5ms", "--epochs", 2))
    fast, slow = (manifest["search"][0]["expected_us"] for manifest in found)
    assert slow > fast


@pytest.mark.slow
def test_two_at_once_into_one_folder(search: Command) -> None:
    """Both end well, and the artifact is whole."""
    both = [search.start("--speedup", "2.5x", "--epochs", 2) for _ in range(2)]
    ends = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    first, second = (json.loads(out) for out, _ in ends)
    assert first["files"] == second["files"]
    assert artifact.model_path(search.folder / "out").is_file()
