"""The latency store itself: rows in and out, by setting."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from hwcomp.errors import InputError
from hwcomp.store import summaries
from hwcomp.store.database import damaged, reading, store_path, writing
from hwcomp.store.rows import KernelRow, Method, Observation, Pruning, RunRow, Setting, SettingSummary, now
from hwcomp.store.tables import (
    KERNELS,
    NETWORKS,
    SETTING,
    TABLES,
    Table,
    row_of,
    row_values,
    setting_of,
    setting_values,
)

KEYS_AT_ONCE = 500
"""SQLite takes a limited number of values in one question."""

OF_SETTING = " AND ".join(f"{column} = ?" for column in SETTING)


class Store:
    """Latencies of kernels and whole networks on any number of devices; safe to use from many processes and threads.

    Every method raises InputError if the file is damaged or of a newer hwcomp, is kept locked by another process, or
    cannot be read or written.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open or create the store at a path; if None, at ``HWCOMP_STORE`` or in the user's data folder."""
        self.path = path or store_path()
        with reading(self.path):
            pass

    def add_kernels(self, setting: Setting, rows: Iterable[KernelRow]) -> None:
        """Add latencies of kernels, all or none; each replaces what was there for its kernel and method."""
        self._add(KERNELS, setting, rows)

    def add_runs(self, setting: Setting, rows: Iterable[RunRow]) -> None:
        """Add latencies of whole networks, all or none; each replaces what was there for its assignment."""
        self._add(NETWORKS, setting, rows)

    def _add(self, table: Table, setting: Setting, rows: Iterable[KernelRow] | Iterable[RunRow]) -> None:
        values = [row_values(row) for row in rows]
        columns, places = ", ".join(("setting", *table.columns)), ", ".join("?" * len(table.columns))
        statement = f"INSERT OR REPLACE INTO {table.name} ({columns}) VALUES (?, {places})"  # noqa: S608 - our names
        with writing(self.path) as connection:
            number = _number(connection, setting)
            connection.executemany(statement, ((number, *row) for row in values))

    def observe(self, setting: Setting, observation: Observation) -> None:
        """Keep how the device was found just now."""
        with writing(self.path) as connection:
            connection.execute(
                "UPDATE settings SET governor = ?, clock_mhz = ?, observation_date = ? WHERE id = ?",
                (observation.governor, observation.clock_mhz, now(), _number(connection, setting)),
            )

    def kernels(self, setting: Setting, keys: Collection[str] | None = None) -> dict[str, KernelRow]:
        """Return kernel -> its row, of all that are known or of those asked for; as seen in a network, if it was."""
        if keys is None:
            return {row.kernel: row for row in self.all_kernels(setting)}  # "network" sorts last, and stays
        wanted, found = sorted(set(keys)), {}
        with reading(self.path) as connection:
            for start in range(0, len(wanted), KEYS_AT_ONCE):
                some = wanted[start : start + KEYS_AT_ONCE]
                rest = f"WHERE {OF_SETTING} AND kernel IN ({', '.join('?' * len(some))}) ORDER BY method"
                for _, row in self._rows(connection, KERNELS, rest, (*setting_values(setting), *some)):
                    found[row.kernel] = row
        return found

    def all_kernels(self, setting: Setting, method: Method | None = None) -> list[KernelRow]:
        """Return every row of the kernels, by both methods or one, in the order of the kernels."""
        rest = f"WHERE {OF_SETTING} AND method = ifnull(?, method) ORDER BY kernel, method"
        with reading(self.path) as connection:
            return [row for _, row in self._rows(connection, KERNELS, rest, (*setting_values(setting), method))]

    def runs(self, setting: Setting, network: str | None = None) -> list[RunRow]:
        """Return the runs of all networks or one, the oldest first."""
        rest = f"WHERE {OF_SETTING} AND network = ifnull(?, network) ORDER BY date, network, assignment"
        with reading(self.path) as connection:
            return [row for _, row in self._rows(connection, NETWORKS, rest, (*setting_values(setting), network))]

    def find_kernels(self, device: str, kernel: str, limit: int) -> list[tuple[Setting, KernelRow]]:
        """Return up to ``limit`` rows whose device and kernel contain these texts, in any case of the letters."""
        rest = (
            "WHERE instr(lower(device), lower(?)) AND instr(lower(kernel), lower(?)) "
            f"ORDER BY {', '.join(SETTING)}, kernel, method LIMIT ?"
        )
        with reading(self.path) as connection:
            return list(self._rows(connection, KERNELS, rest, (device, kernel, limit)))

    def every_row(self) -> Iterator[tuple[Setting, KernelRow | RunRow]]:
        """Yield all rows as they are at one moment, without holding them in memory."""
        with reading(self.path) as connection:
            connection.execute("BEGIN")
            for table in TABLES:  # in an order that the indices have, so that nothing is sorted
                yield from self._rows(connection, table, f"ORDER BY {', '.join((*SETTING, *table.key))}", ())

    def _rows(
        self, connection: sqlite3.Connection, table: Table, rest: str, values: tuple[Any, ...]
    ) -> Iterator[tuple[Setting, Any]]:
        columns = ", ".join((*SETTING, *table.columns))
        try:
            for found in connection.execute(f"SELECT {columns} FROM {table.joined} {rest}", values):  # noqa: S608
                yield setting_of(found[: len(SETTING)]), row_of(table, found[len(SETTING) :])
        except (ValueError, TypeError) as error:  # written by something else, or a bit has flipped
            raise InputError(damaged(self.path, str(error))) from error

    def settings(self) -> list[SettingSummary]:
        """Return what is held of every setting, in the order of the devices."""
        with reading(self.path) as connection:
            return summaries.of_settings(connection)

    def prunable(self, pruning: Pruning) -> dict[Setting, int]:
        """Return how many rows `prune` would remove, by setting."""
        with reading(self.path) as connection:
            return summaries.prunable(connection, pruning)

    def prune(self, pruning: Pruning) -> int:
        """Remove rows, and the settings that are left without any; return how many rows."""
        with writing(self.path) as connection:
            return summaries.prune(connection, pruning)


def _number(connection: sqlite3.Connection, setting: Setting) -> int:
    """Return the number that stands for a setting, given now if it is new."""
    values = setting_values(setting)
    connection.execute(f"INSERT OR IGNORE INTO settings ({', '.join(SETTING)}) VALUES (?, ?, ?)", values)  # noqa: S608
    number: int = connection.execute(f"SELECT id FROM settings WHERE {OF_SETTING}", values).fetchone()[0]  # noqa: S608
    return number
