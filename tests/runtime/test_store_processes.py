"""The latency store under real processes: writers at once, writers killed, a disk that is full."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwcomp.errors import InputError
from hwcomp.store import Setting, Store

SETTING = Setting(device="cpu: test", runtime="onnxruntime 1.31.1", threads=1)

WRITER = """
import sys
from pathlib import Path
from hwcomp.store import KernelRow, Setting, Store

path, name, batches, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = Store(path)
setting = Setting(device="cpu: test", runtime="onnxruntime 1.31.1", threads=1)
print("ready", flush=True)
for batch in range(batches):
    store.add_kernels(setting, [
        KernelRow(
            kernel=f"{name}|{batch}|{row}", method="network", median_us=2.0, p10_us=1.0, p90_us=3.0, runs=5,
            date="2026-11-22", provenance="measured",
        )
        for row in range(size)
    ])
    print(batch, flush=True)
"""


def writer(path: Path, name: str, batches: int, size: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), name, str(batches), str(size)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def batches_of(store: Store) -> dict[str, int]:
    """Return how many rows there are of each batch."""
    found: dict[str, int] = {}
    for kernel in store.kernels(SETTING):
        batch = kernel.rpartition("|")[0]
        found[batch] = found.get(batch, 0) + 1
    return found


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """They make the store together, and write a row at a time."""
    path = tmp_path / "latency.sqlite"
    writers = [writer(path, name, batches=500, size=1) for name in ("a", "b")]
    for process in writers:
        _, complaint = process.communicate(timeout=240)
        assert (process.returncode, complaint) == (0, "")
    expected = {f"{name}|{batch}": 1 for name in ("a", "b") for batch in range(500)}
    assert batches_of(Store(path)) == expected
    assert [entry.name for entry in tmp_path.iterdir()] == ["latency.sqlite"]


MAKERS = """
import multiprocessing, sys
from pathlib import Path
from hwcomp.store import Store

def make(barrier, path):
    barrier.wait()
    Store(path)

context = multiprocessing.get_context("fork")
for number in range(40):
    barrier = context.Barrier(8)
    makers = [context.Process(target=make, args=(barrier, Path(sys.argv[1]) / f"{number}.sqlite")) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    if any(maker.exitcode for maker in makers):
        sys.exit(f"failed on store {number}")
"""


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_many_processes_may_make_the_store_at_the_same_moment(tmp_path: Path) -> None:
    """Whoever comes first lays it out; the others use it."""
    done = subprocess.run([sys.executable, "-c", MAKERS, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        len(list(tmp_path.glob("*.sqlite"))) == 40
    )  # SQLite may leave its log beside one that was closed twice at once


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_writer_leaves_whole_batches(tmp_path: Path) -> None:
    """Killed at any moment, while making the store too: it opens, and what was reported as written is there."""
    path = tmp_path / "latency.sqlite"
    reported: set[str] = set()
    for attempt in range(12):
        process = writer(path, str(attempt), batches=100_000, size=40)
        assert process.stdout is not None
        if attempt % 3:  # every third one may still be opening
            process.stdout.readline()
        time.sleep(0.05 + 0.013 * attempt)
        process.send_signal(signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
        reported |= {f"{attempt}|{line}" for line in said.split("\n")[:-1] if line.isdecimal()}
        found = batches_of(Store(path))
        assert set(found.values()) <= {40}
        assert reported <= set(found)
    assert reported
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    connection.close()


def test_a_reader_is_not_disturbed_by_a_writer(tmp_path: Path) -> None:
    """It sees whole batches, and more and more of them."""
    path = tmp_path / "latency.sqlite"
    process = writer(path, "a", batches=60, size=20)
    assert process.stdout is not None
    process.stdout.readline()
    seen, store = [], Store(path)
    while process.poll() is None:
        found = batches_of(store)
        assert set(found.values()) <= {20}
        seen.append(len(found))
    process.communicate()
    assert process.returncode == 0
    assert seen == sorted(seen)
    assert len(batches_of(store)) == 60


LOCKED = """
import sys
from pathlib import Path
from hwcomp.store import Pruning, Store, database
database.WAIT_S = 0.2
Store(Path(sys.argv[1])).prune(Pruning())
"""


def test_a_store_that_stays_locked_is_said(tmp_path: Path) -> None:
    """After a while; here the while is short."""
    path = tmp_path / "latency.sqlite"
    Store(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    done = subprocess.run([sys.executable, "-c", LOCKED, str(path)], capture_output=True, text=True, check=False)
    connection.close()
    assert "InputError" in done.stderr
    assert "kept locked by another process" in done.stderr


FULL = """
import resource, signal, sys
from pathlib import Path
from hwcomp.errors import InputError
from hwcomp.store import KernelRow, Setting, Store

store = Store(Path(sys.argv[1]))
setting = Setting(device="cpu: test", runtime="onnxruntime 1.31.1", threads=1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for batch in range(1000):
        store.add_kernels(setting, [
            KernelRow(
                kernel=f"f|{batch}|{row}" + "x" * 500, method="network", median_us=2.0, p10_us=1.0, p90_us=3.0, runs=5,
                date="2026-11-22", provenance="measured",
            )
            for row in range(40)
        ])
        print(batch, flush=True)
except InputError as error:
    print(error, file=sys.stderr)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: SQLite can write no further."""
    path = tmp_path / "latency.sqlite"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot be used" in done.stderr
    assert "check room and permissions" in done.stderr
    written = {f"f|{line}" for line in done.stdout.split()}
    assert written
    found = batches_of(Store(path))
    assert set(found) == written
    assert set(found.values()) == {40}


def test_a_place_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    """Not even an administrator can make a folder there."""
    if not Path("/proc").is_dir():
        pytest.skip("there is no /proc")
    with pytest.raises(InputError, match=r"'/proc/hwcomp/latency\.sqlite' cannot be used"):
        Store(Path("/proc/hwcomp/latency.sqlite"))
