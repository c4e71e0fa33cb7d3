"""The agent's archive: the same bytes each time, and all that is needed where it arrives."""

import io
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from hwcomp.devices import shipping
from hwcomp.devices.agent.machine import facts
from hwcomp.devices.connection import Connection
from hwcomp.devices.ssh import LOADER, READY, loader


def test_it_is_the_same_bytes_whenever_its_files_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shipping.archive()
    with ZipFile(io.BytesIO(first)) as packed:
        for name in sorted(packed.namelist(), reverse=True):  # in another order, and now
            if name.startswith("hwcomp_agent/"):
                (tmp_path / Path(name).name).write_bytes(packed.read(name))
    (tmp_path / "__pycache__").mkdir()
    monkeypatch.setattr(shipping, "files", lambda _: tmp_path)
    assert shipping.archive() == first


@pytest.mark.parametrize("end", ["closed", "terminated"])
@pytest.mark.parametrize("start", ["run", "sent"])
def test_it_runs_in_an_empty_folder_with_nothing_of_hwcomp_and_leaves_nothing(
    start: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    (tmp_path / "agent.zip").write_bytes(shipping.archive())
    command = ["-c", loader(shipping.archive())] if start == "sent" else [str(tmp_path / "agent.zip")]
    connection = Connection([sys.executable, "-I", *command], {"TMPDIR": str(tmp_path / "empty")})
    if start == "sent":
        assert connection.skip_to(f"{READY}\n".encode(), 100, 60.0)
        connection.send(shipping.archive())
    header, _ = connection.ask("hello", {}, [])
    assert header["ok"] is True
    assert header["cpu"] == facts()["cpu"]
    (folder,) = (tmp_path / "empty").glob("hwcomp*")  # ONNX Runtime writes a file of its own there
    assert folder.stat().st_mode & 0o777 == 0o700
    if end == "terminated":
        connection._process.terminate()
        connection.ended()
    connection.close()
    assert list((tmp_path / "empty").glob("hwcomp*")) == []


def sent(content: bytes, script: str, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-I", "-c", script],
        input=content,
        env={"TMPDIR": str(folder)},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("damage", ["cut", "another byte"])
def test_an_archive_that_did_not_arrive_whole_is_not_run(damage: str, tmp_path: Path) -> None:
    whole = shipping.archive()
    done = sent(whole[:-9] if damage == "cut" else b"!" + whole[1:], loader(whole), tmp_path)
    assert (done.returncode, done.stderr) == (1, b"the agent did not arrive whole\n")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_cannot_be_imported_leaves_nothing(tmp_path: Path) -> None:
    done = sent(b"no archive", loader(b"no archive"), tmp_path)
    assert done.returncode == 1
    assert b"No module named 'hwcomp_agent'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_shell_takes_what_loads_it_as_one_word() -> None:
    assert "'" not in LOADER
    assert "\n" not in LOADER
