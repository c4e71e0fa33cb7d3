"""An import in the making: rows wait beside the store until all are known to be good, then go in together."""

import sqlite3
from dataclasses import dataclass

from hwcomp.store.database import transaction
from hwcomp.store.lines import Content
from hwcomp.store.rows import KernelRow, Observation, Setting
from hwcomp.store.tables import KERNELS, NETWORKS, SETTING, TABLES, Table, row_values, setting_of, setting_values

KNOWN_SETTINGS = 1000
"""Numbers of settings that are remembered, so that a file of millions of them does not fill the memory."""

OBSERVED = ("governor", "clock_mhz", "observation_date")


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """What came of the rows of one setting.

    Attributes:
        setting: it.
        new: rows whose kernel or assignment was not known.
        replaced: rows that were newer than what was there.
        same: rows with the date of what was there; it stays.
        older: rows older than what was there; it stays.
    """

    setting: Setting
    new: int
    replaced: int
    same: int
    older: int


_SAME_SETTING = " AND ".join(f"{column} = ?" for column in SETTING)

_INSERT_SETTING = f"INSERT OR IGNORE INTO new_settings ({', '.join(SETTING)}) VALUES (?, ?, ?)"  # noqa: S608

_INSERT = {
    table.name: f"INSERT INTO new_{table.name} VALUES (?, {', '.join('?' * len(table.columns))}, ?)"  # noqa: S608
    for table in TABLES
}

_SETTINGS = (
    f"INSERT OR IGNORE INTO settings ({', '.join(SETTING)}) SELECT {', '.join(SETTING)} FROM new_settings",  # noqa: S608
    f"""UPDATE new_settings SET target = (SELECT id FROM settings WHERE
        {" AND ".join(f"settings.{column} = new_settings.{column}" for column in SETTING)})""",  # noqa: S608
    "CREATE INDEX temp.new_target ON new_settings (target)",
    """UPDATE settings SET (governor, clock_mhz, observation_date) =
        (SELECT governor, clock_mhz, observation_date FROM new_settings WHERE target = settings.id)
        WHERE EXISTS (SELECT 1 FROM new_settings n WHERE n.target = settings.id
            AND n.observation_date > ifnull(settings.observation_date, ''))""",
)


class Staging:
    """Rows on their way into a store; they wait in a temporary file of SQLite, so their number does not matter."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Begin an import over an open store, which stays free for others until `merge`."""
        self._connection = connection
        self._numbers: dict[Setting, int] = {}
        connection.execute("PRAGMA temp_store = FILE")
        connection.execute(
            f"CREATE TEMP TABLE new_settings (id INTEGER PRIMARY KEY, {', '.join(SETTING)}, {', '.join(OBSERVED)}, "
            f"target, line, UNIQUE ({', '.join(SETTING)}))"
        )
        for table in TABLES:
            key = ", ".join(("setting", *table.key))
            connection.execute(
                f"CREATE TEMP TABLE new_{table.name} ({key}, {', '.join(table.values)}, line, PRIMARY KEY ({key})) "
                "WITHOUT ROWID"
            )
        connection.execute("PRAGMA temp.cache_size = -65536")
        connection.execute("BEGIN")

    def add(self, line: int, setting: Setting, content: Content) -> None:
        """Add a row.

        Args:
            line: where it stands in its file.
            setting: what it was measured in.
            content: the row.

        Raises:
            ValueError: an earlier one has the same key.
        """
        number = self._number(setting)
        if isinstance(content, tuple):
            self._observe(line, number, *content)
            return
        table = KERNELS if isinstance(content, KernelRow) else NETWORKS
        values = row_values(content)
        try:
            self._connection.execute(_INSERT[table.name], (number, *values, line))
        except sqlite3.IntegrityError as error:
            same = " AND ".join(f"{column} = ?" for column in ("setting", *table.key))
            question = f"SELECT line FROM new_{table.name} WHERE {same}"  # noqa: S608 - our names
            (first,) = self._connection.execute(question, (number, *values[: len(table.key)])).fetchone()
            raise ValueError(f"same {' and '.join(table.key)} as in {first}") from error

    def _number(self, setting: Setting) -> int:
        if setting not in self._numbers:
            if len(self._numbers) == KNOWN_SETTINGS:
                self._numbers.clear()
            values = setting_values(setting)
            self._connection.execute(_INSERT_SETTING, values)
            question = f"SELECT id FROM new_settings WHERE {_SAME_SETTING}"  # noqa: S608 - our names
            (self._numbers[setting],) = self._connection.execute(question, values).fetchone()
        return self._numbers[setting]

    def _observe(self, line: int, number: int, observation: Observation, date: str) -> None:
        (first,) = self._connection.execute("SELECT line FROM new_settings WHERE id = ?", (number,)).fetchone()
        if first is not None:
            raise ValueError(f"an observation of the same setting as in {first}")
        self._connection.execute(
            "UPDATE new_settings SET governor = ?, clock_mhz = ?, observation_date = ?, line = ? WHERE id = ?",
            (observation.governor, observation.clock_mhz, date, line, number),
        )

    def merge(self) -> list[Merged]:
        """Move all rows into the store, the newest of each key, in one transaction; return what came of them."""
        self._connection.execute("COMMIT")
        with transaction(self._connection):
            for statement in _SETTINGS:
                self._connection.execute(statement)
            counted = [row for table in TABLES for row in self._connection.execute(_count(table))]
            for table in TABLES:
                self._connection.execute(_merge(table))
        totals: dict[Setting, list[int]] = {}
        for device, runtime, threads, *counts in counted:
            setting = setting_of((device, runtime, threads))
            totals[setting] = [a + b for a, b in zip(totals.get(setting, [0] * 4), counts, strict=True)]
        return [
            Merged(setting=setting, new=new, replaced=replaced, same=same, older=older)
            for setting, (new, replaced, same, older) in totals.items()
        ]


def _count(table: Table) -> str:
    """Return the question how many rows of each setting are new, newer, equally old and older."""
    same_key = " AND ".join(f"old.{column} = new.{column}" for column in table.key)
    return f"""SELECT {", ".join(SETTING)}, sum(old.date IS NULL), ifnull(sum(old.date < new.date), 0),
        ifnull(sum(old.date = new.date), 0), ifnull(sum(old.date > new.date), 0)
        FROM new_{table.name} new JOIN new_settings ON new.setting = new_settings.id
        LEFT JOIN {table.name} old ON old.setting = target AND {same_key}
        GROUP BY new.setting ORDER BY new.setting"""  # noqa: S608 - our names


def _merge(table: Table) -> str:
    """Return the statement that adds the rows that are new or newer."""
    columns = ", ".join(table.columns)
    updates = ", ".join(f"{column} = excluded.{column}" for column in table.values)
    return f"""INSERT INTO {table.name} (setting, {columns})
        SELECT target, {columns} FROM new_{table.name} JOIN new_settings ON setting = new_settings.id
        WHERE TRUE ORDER BY {", ".join(("setting", *table.key))}
        ON CONFLICT (setting, {", ".join(table.key)}) DO UPDATE SET {updates}
        WHERE excluded.date > {table.name}.date"""  # noqa: S608 - our names
