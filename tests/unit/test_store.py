"""The latency store: what goes in comes out, the right row wins, and no foreign or broken file is touched."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hwcomp.errors import InputError
from hwcomp.store import KernelRow, Observation, Pruning, RunRow, Setting, Store, now

BOARD = Setting(device="cpu: Cortex-A72 | isa: asimd | cores: 4", runtime="onnxruntime 1.31.1", threads=2)
KERNEL = KernelRow(
    kernel="conv2d|float|1x3x8x8", method="network", median_us=20.5, p10_us=19.0, p90_us=24.25, runs=40,
    date="2026-11-22T08:00:00+00:00", provenance="measured",
)  # fmt: skip
RUN = RunRow(
    network="5f2a", assignment={"stem": "float", "head": "int8"}, median_us=900.0, p10_us=880.0, p90_us=990.0, runs=9,
    date="2026-11-22", provenance="measured", control_us=1500.0,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "made" / "latency.sqlite")


def test_rows_come_back_as_they_were(store: Store) -> None:
    simulated = replace(KERNEL, kernel="other", provenance="simulated", error=0.15, runs=0, date="2026-11-22T08:00:00Z")
    store.add_kernels(BOARD, [KERNEL, simulated])
    store.add_runs(BOARD, [RUN])
    again = Store(store.path)
    assert again.kernels(BOARD) == {KERNEL.kernel: KERNEL, "other": simulated}
    assert again.kernels(BOARD, ["other", "unknown"]) == {"other": simulated}
    assert again.kernels(BOARD, []) == {}
    assert again.all_kernels(BOARD) == [KERNEL, simulated]
    assert again.runs(BOARD) == [RUN]
    assert again.runs(BOARD, "5f2a") == [RUN]
    assert again.runs(BOARD, "other") == []


@pytest.mark.parametrize("change", [{"threads": 1}, {"runtime": "onnxruntime 1.22.0"}, {"device": "simulated: x"}])
def test_settings_are_kept_apart(store: Store, change: dict) -> None:
    other = replace(BOARD, **change)
    store.add_kernels(BOARD, [KERNEL])
    assert store.kernels(other) == {}
    store.add_kernels(other, [replace(KERNEL, median_us=21.0)])
    assert store.kernels(BOARD) == {KERNEL.kernel: KERNEL}
    assert len(store.settings()) == 2


def test_a_kernel_seen_in_a_network_counts_before_one_seen_alone(store: Store) -> None:
    alone = replace(KERNEL, method="alone", median_us=19.0, date="2026-12-01")
    only_alone = replace(alone, kernel="only alone")
    store.add_kernels(BOARD, [KERNEL])
    store.add_kernels(BOARD, [alone, only_alone])
    expected = {KERNEL.kernel: KERNEL, "only alone": only_alone}
    assert store.kernels(BOARD) == expected
    assert store.kernels(BOARD, [KERNEL.kernel, "only alone"]) == expected
    assert store.all_kernels(BOARD, "alone") == [alone, only_alone]
    assert store.all_kernels(BOARD, "network") == [KERNEL]


def test_a_new_row_replaces_the_old_one(store: Store) -> None:
    newer = replace(KERNEL, median_us=22.0, date="2026-11-21")  # what was just measured counts, whatever the clock said
    other_run = replace(RUN, assignment={"head": "int8", "stem": "float"}, median_us=901.0)
    store.add_kernels(BOARD, [KERNEL])
    store.add_kernels(BOARD, [newer])
    store.add_runs(BOARD, [RUN])
    store.add_runs(BOARD, [other_run])
    assert store.all_kernels(BOARD) == [newer]
    assert store.runs(BOARD) == [other_run]


def test_any_number_of_keys_can_be_asked_for(store: Store) -> None:
    rows = [replace(KERNEL, kernel=f"conv2d|{index}") for index in range(1300)]
    store.add_kernels(BOARD, rows)
    assert store.kernels(BOARD, [row.kernel for row in rows] * 2) == {row.kernel: row for row in rows}


def test_threads_may_share_a_store(store: Store) -> None:
    def add(name: str) -> None:
        for index in range(20):
            store.add_kernels(BOARD, [replace(KERNEL, kernel=f"{name}|{index}")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, "abcd"))
    assert len(store.kernels(BOARD)) == 80


WRONG = [
    {"median_us": float("nan")}, {"p90_us": float("inf")}, {"p10_us": 0.0}, {"p10_us": -1.0}, {"p10_us": 21.0},
    {"p90_us": 20.0}, {"median_us": "20"}, {"median_us": True}, {"runs": -1}, {"runs": 1.5}, {"runs": 2**53 + 1},
    {"method": "guessed"}, {"provenance": "invented"}, {"kernel": ""}, {"kernel": "a\nb"}, {"kernel": "\x1b[2J"},
    {"kernel": "\ud800"}, {"date": "yesterday"}, {"date": "2026-13-01"}, {"date": "2026-11-22T08:00:00+02:00"},
    {"date": "2026-11-22 08:00"}, {"error": -0.1}, {"error": float("nan")},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_row_that_cannot_be_true_cannot_be_made(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        replace(KERNEL, **wrong)


@pytest.mark.parametrize("wrong", [{"control_us": 0.0}, {"network": ""}, {"assignment": {"stem": ""}}, {"runs": None}])
def test_a_run_that_cannot_be_true_cannot_be_made(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        replace(RUN, **wrong)


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"threads": True}, {"device": " \n"}, {"runtime": ""}])
def test_a_setting_that_cannot_be_cannot_be_made(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        replace(BOARD, **wrong)


def test_rows_that_fail_half_way_leave_nothing(store: Store) -> None:
    def rows():
        yield KERNEL
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.add_kernels(BOARD, rows())
    assert store.settings() == []


def test_the_summary_counts_and_keeps_the_latest_observation(store: Store) -> None:
    store.observe(BOARD, Observation(governor="powersave", clock_mhz=600.0))
    store.observe(BOARD, Observation(governor="performance", clock_mhz=1500.0))
    store.add_kernels(BOARD, [KERNEL, replace(KERNEL, kernel="other", provenance="simulated", date="2026-11-20")])
    store.add_runs(BOARD, [RUN])
    (summary,) = store.settings()
    assert (summary.setting, summary.kernels, summary.runs) == (BOARD, 2, 1)
    assert (summary.first_date, summary.last_date) == ("2026-11-20", KERNEL.date)
    assert summary.provenances == ("measured", "simulated")
    assert summary.observation == Observation(governor="performance", clock_mhz=1500.0)
    assert summary.observation_date is not None
    assert now(days_ago=1) < summary.observation_date <= now()


PRUNINGS = [
    (Pruning(), {"new", "old", "other", "ncnn"}),
    (Pruning(device="cortex-a72"), {"new", "old", "ncnn"}),
    (Pruning(device="no such"), set()),
    (Pruning(keep_runtime="onnxruntime 1.31.1"), {"other"}),
    (Pruning(before="2026-11-01"), {"old"}),
    (Pruning(device="Cortex", before="2026-11-01"), {"old"}),
    (Pruning(device="EPYC", before="2026-11-01"), set()),
]


def _name(value: Pruning | set[str]) -> str:
    """Return a name that is the same in every process: the order of a set is not."""
    return str(value) if isinstance(value, Pruning) else " ".join(sorted(value)) or "nothing"


@pytest.mark.parametrize(("pruning", "gone"), PRUNINGS, ids=_name)
def test_pruning_removes_what_meets_all_conditions(store: Store, pruning: Pruning, gone: set[str]) -> None:
    rows = {
        "new": (BOARD, KERNEL),
        "old": (BOARD, replace(KERNEL, kernel="old", date="2026-10-01T00:00:00Z")),
        "other": (Setting(device="cpu: EPYC", runtime="onnxruntime 1.22.0", threads=1), KERNEL),
        "ncnn": (replace(BOARD, runtime="ncnn 1.0"), KERNEL),
    }
    for setting, row in rows.values():
        store.add_kernels(setting, [row])
    assert sum(store.prunable(pruning).values()) == len(gone)
    assert store.prune(pruning) == len(gone)
    for name, (setting, row) in rows.items():
        assert (row in store.all_kernels(setting)) == (name not in gone)
    assert {summary.setting for summary in store.settings()} == {rows[name][0] for name in rows.keys() - gone}
    assert store.prune(pruning) == 0


def test_the_file_shrinks_when_rows_go(store: Store) -> None:
    store.add_kernels(BOARD, [replace(KERNEL, kernel=f"conv2d|{index}") for index in range(5000)])
    full = store.path.stat().st_size
    store.prune(Pruning())
    assert store.path.stat().st_size < full / 4


def test_the_environment_says_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWCOMP_STORE", str(tmp_path / "chosen.sqlite"))
    Store().add_kernels(BOARD, [KERNEL])
    assert Store(tmp_path / "chosen.sqlite").kernels(BOARD) == {KERNEL.kernel: KERNEL}


FIRST_LAYOUT = """
    CREATE TABLE settings (id INTEGER PRIMARY KEY, device TEXT NOT NULL, runtime TEXT NOT NULL,
        threads INTEGER NOT NULL, governor TEXT, clock_mhz REAL, observation_date TEXT,
        UNIQUE (device, runtime, threads));
    CREATE TABLE kernels (setting INTEGER NOT NULL, kernel TEXT NOT NULL, median_us REAL NOT NULL, p10_us REAL NOT NULL,
        p90_us REAL NOT NULL, runs INTEGER NOT NULL, date TEXT NOT NULL, provenance TEXT NOT NULL, error REAL NOT NULL,
        PRIMARY KEY (setting, kernel)) WITHOUT ROWID;
    CREATE TABLE networks (setting INTEGER NOT NULL, network TEXT NOT NULL, assignment TEXT NOT NULL,
        median_us REAL NOT NULL, p10_us REAL NOT NULL, p90_us REAL NOT NULL, runs INTEGER NOT NULL, date TEXT NOT NULL,
        provenance TEXT NOT NULL, control_us REAL NOT NULL, UNIQUE (setting, network, assignment));
    INSERT INTO settings VALUES
        (4, 'cpu: Cortex-A72 | isa: asimd | cores: 4', 'onnxruntime 1.31.1', 2, 'performance', 1500, '2026-11-01');
    INSERT INTO kernels VALUES
        (4, 'conv2d|float|1x3x8x8', 20.5, 19, 24.25, 40, '2026-11-22T08:00:00+00:00', 'measured', 0);
    INSERT INTO networks VALUES
        (4, '5f2a', '{"head": "int8", "stem": "float"}', 900, 880, 990, 9, '2026-11-22', 'measured', 1500);
    PRAGMA application_id = 1752648788;
    PRAGMA user_version = 1;
"""


def test_a_store_of_the_first_layout_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST_LAYOUT)
    connection.close()
    for _ in range(2):
        store = Store(path)
        assert store.all_kernels(BOARD, "network") == [KERNEL]
        assert store.runs(BOARD) == [RUN]
        assert store.settings()[0].observation == Observation(governor="performance", clock_mhz=1500.0)
    store.add_kernels(BOARD, [replace(KERNEL, method="alone")])
    assert len(store.all_kernels(BOARD)) == 2


def test_an_update_of_the_layout_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    sqlite_file(path, FIRST_LAYOUT.replace(", error REAL NOT NULL", "").replace("'measured', 0)", "'measured')"))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"is damaged \(no such column: error\)"):
        Store(path)
    assert path.read_bytes() == before


def sqlite_file(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def refused(path: Path) -> str:
    """Open what is no store; return the sentence, after checking that the file is as it was."""
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        Store(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert "\n" not in str(caught.value)
    assert f"'{path}'" in str(caught.value)
    return str(caught.value)


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latency.sqlite"
    Store(path)
    sqlite_file(path, "PRAGMA user_version = 99")
    assert "layout version 99, this hwcomp knows 2: update hwcomp" in refused(path)


FOREIGN = {
    "another program's": lambda path: sqlite_file(path, "CREATE TABLE diary (day TEXT)"),
    "with an identity": lambda path: sqlite_file(path, "PRAGMA application_id = 7"),
    "with our table names": lambda path: sqlite_file(path, "CREATE TABLE kernels (a); PRAGMA user_version = 2"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_an_sqlite_file_of_another_program_is_left_alone(tmp_path: Path, case: str) -> None:
    FOREIGN[case](tmp_path / "other.sqlite")
    sentence = refused(tmp_path / "other.sqlite")
    assert "another program" in sentence
    assert "--store or HWCOMP_STORE" in sentence


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine\n" * 500)
    assert "is not a latency store" in refused(tmp_path / "notes.txt")


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        Store(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        Store(tmp_path / "file" / "latency.sqlite")


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "latency.sqlite").touch()
    Store(tmp_path / "latency.sqlite").add_kernels(BOARD, [KERNEL])
    assert Store(tmp_path / "latency.sqlite").all_kernels(BOARD) == [KERNEL]


def use(path: Path) -> None:
    store = Store(path)
    store.kernels(BOARD)
    store.runs(BOARD)
    store.settings()
    store.add_kernels(BOARD, [KERNEL])
    list(store.every_row())


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def zeroed(content: bytes) -> bytes:
    return content[:8192] + bytes(len(content) - 8192)


def flipped(content: bytes) -> bytes:
    return content.replace(b"measured", b"mea\x1bur\xffd")


def negated(content: bytes) -> bytes:
    return content.replace(b"2026-11-22", b"2026-99-22")


def unreadable(content: bytes) -> bytes:
    return content.replace(b"WITHOUT ROWID", b"WITHOUT \xffOWID")


@pytest.mark.parametrize("damage", [cut, zeroed, flipped, negated, unreadable])
def test_a_damaged_store_is_reported_and_not_written_over(tmp_path: Path, damage) -> None:
    path = tmp_path / "latency.sqlite"
    Store(path).add_kernels(BOARD, [replace(KERNEL, kernel=f"conv2d|{index}") for index in range(800)])
    broken = damage(path.read_bytes())
    path.write_bytes(broken)
    with pytest.raises(InputError) as caught:
        use(path)
    assert "is damaged" in str(caught.value)
    assert "hwcomp profile import" in str(caught.value)
    assert str(caught.value).isprintable()
    assert path.read_bytes() == broken
