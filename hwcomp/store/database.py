"""The file behind the latency store: where it lies, how it is laid out, and what is said when it cannot be used."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import platformdirs

from hwcomp.errors import InputError

PATH_VARIABLE = "HWCOMP_STORE"

APPLICATION = 0x68774C54
"""Stands in the header of every store, so that no other program's file is taken for one."""

WAIT_S = 60.0
"""How long a process waits for another one that writes."""

LAYOUTS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE settings (
            id INTEGER PRIMARY KEY,
            device TEXT NOT NULL, runtime TEXT NOT NULL, threads INTEGER NOT NULL,
            governor TEXT, clock_mhz REAL, observation_date TEXT,
            UNIQUE (device, runtime, threads))""",
        """CREATE TABLE kernels (
            setting INTEGER NOT NULL, kernel TEXT NOT NULL,
            median_us REAL NOT NULL, p10_us REAL NOT NULL, p90_us REAL NOT NULL, runs INTEGER NOT NULL,
            date TEXT NOT NULL, provenance TEXT NOT NULL, error REAL NOT NULL,
            PRIMARY KEY (setting, kernel)) WITHOUT ROWID""",
        """CREATE TABLE networks (
            setting INTEGER NOT NULL, network TEXT NOT NULL, assignment TEXT NOT NULL,
            median_us REAL NOT NULL, p10_us REAL NOT NULL, p90_us REAL NOT NULL, runs INTEGER NOT NULL,
            date TEXT NOT NULL, provenance TEXT NOT NULL, control_us REAL NOT NULL,
            UNIQUE (setting, network, assignment))""",
    ),
    (  # kernels measured alone came later: what was there had been seen inside whole networks
        "ALTER TABLE kernels RENAME TO kernels_1",
        """CREATE TABLE kernels (
            setting INTEGER NOT NULL, kernel TEXT NOT NULL, method TEXT NOT NULL,
            median_us REAL NOT NULL, p10_us REAL NOT NULL, p90_us REAL NOT NULL, runs INTEGER NOT NULL,
            date TEXT NOT NULL, provenance TEXT NOT NULL, error REAL NOT NULL,
            PRIMARY KEY (setting, kernel, method)) WITHOUT ROWID""",
        """INSERT INTO kernels
            SELECT setting, kernel, 'network', median_us, p10_us, p90_us, runs, date, provenance, error
            FROM kernels_1""",
        "DROP TABLE kernels_1",
    ),
)
"""Statements that lead from each version of the layout to the next; a new store goes through all of them."""


def store_path() -> Path:
    """Return where the store lies: ``HWCOMP_STORE``, or hwcomp's in the user's data folder."""
    chosen = os.environ.get(PATH_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("hwcomp")) / "latency.sqlite"


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the store, made or brought to the newest layout if need be, until the body is done.

    Every use has a connection of its own: so threads and processes share nothing, and nothing stays open.

    Raises:
        InputError: it is not a store, damaged, of a newer version, locked for long, or cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(_cannot(path, error.strerror or str(error))) from error
    with _told(path), closing(sqlite3.connect(path.absolute(), timeout=WAIT_S, isolation_level=None)) as connection:
        _prepare(connection, path)
        yield connection


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the store as `reading` does, and write all that the body writes, or nothing."""
    with reading(path) as connection, transaction(connection):
        yield connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the right to write until the body is done; undo everything if it fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has undone it already
            connection.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the layout up to date, after making sure that the file is ours: no other one is written to."""
    connection.execute("BEGIN")  # so that its answers are all of one moment
    version = _version(connection, path)
    connection.execute("COMMIT")
    if version < len(LAYOUTS):
        connection.execute("PRAGMA auto_vacuum = FULL")  # of a new file: it shrinks when rows go
        with transaction(connection):
            for statements in LAYOUTS[_version(connection, path) :]:  # another process may have been faster
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {len(LAYOUTS)}")
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = NORMAL")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the layout, 0 for an empty file."""
    application, version, tables = (
        connection.execute(question).fetchone()[0]
        for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if application != APPLICATION and (application, version, tables) != (0, 0, 0):
        raise InputError(
            f"'{path}' is an SQLite file of another program, not a latency store; it was left as it is: "
            f"give another path with --store or {PATH_VARIABLE}."
        )
    if version > len(LAYOUTS):
        raise InputError(
            f"The latency store '{path}' has layout version {version}, this hwcomp knows {len(LAYOUTS)}: "
            f"update hwcomp, or give another path with --store or {PATH_VARIABLE}."
        )
    return int(version)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch write-ahead logging on; SQLite refuses at once, without waiting, while another process is doing it."""
    deadline = time.monotonic() + WAIT_S
    while not _is_write_ahead(connection, final=time.monotonic() > deadline):
        time.sleep(0.01)


def _is_write_ahead(connection: sqlite3.Connection, *, final: bool) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if final or "locked" not in str(error):
            raise
        return False
    return True


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the file into a sentence for the user."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.ProgrammingError):  # a defect of ours, not of the file
            raise
        raise InputError(_sentence(path, str(error))) from error
    except UnicodeDecodeError as error:  # not even what SQLite says of the damage is text
        raise InputError(damaged(path, str(error))) from error


def _sentence(path: Path, error: str) -> str:
    if "not a database" in error:
        return (
            f"'{path}' is not a latency store ({error}); it was left as it is: "
            f"give another path with --store or {PATH_VARIABLE}."
        )
    if "locked" in error:
        return f"The latency store '{path}' was kept locked by another process for {WAIT_S:.0f} s; try again later."
    if any(words in error for words in ("full", "I/O", "readonly", "unable to open")):
        return _cannot(path, error)
    return damaged(path, error)


def _cannot(path: Path, error: str) -> str:
    return (
        f"The latency store '{path}' cannot be used ({error}); nothing in it was changed: check room and permissions, "
        f"or give another path with --store or {PATH_VARIABLE}."
    )


def damaged(path: Path, error: str) -> str:
    """Return the sentence about a store whose content is broken."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in error)
    return (
        f"The latency store '{path}' is damaged ({shown}); it was left as it is: move it away, then "
        f"`hwcomp profile import` an export of it, or profile again."
    )
