"""What a store holds, counted by setting; and the removal of what is not wanted any more."""

import sqlite3

from hwcomp.store.rows import Observation, Pruning, Setting, SettingSummary
from hwcomp.store.tables import SETTING, TABLES, setting_of

EVERY_ROW = """(SELECT setting, date, provenance, 1 AS kernel FROM kernels
    UNION ALL SELECT setting, date, provenance, 0 FROM networks)"""


def of_settings(connection: sqlite3.Connection) -> list[SettingSummary]:
    """Return what is held of every setting, in the order of the devices."""
    question = f"""SELECT {", ".join(SETTING)}, governor, clock_mhz, observation_date, total(kernel), count(date),
        min(date), max(date), group_concat(DISTINCT provenance)
        FROM settings LEFT JOIN {EVERY_ROW} ON setting = id GROUP BY id ORDER BY {", ".join(SETTING)}"""  # noqa: S608
    return [
        SettingSummary(
            setting=setting_of(setting),
            kernels=int(kernels),
            runs=rows - int(kernels),
            first_date=first,
            last_date=last,
            provenances=tuple(sorted(kinds.split(","))) if kinds else (),
            observation=Observation(governor=governor, clock_mhz=clock_mhz) if observed else None,
            observation_date=observed,
        )
        for *setting, governor, clock_mhz, observed, kernels, rows, first, last, kinds in connection.execute(question)
    ]


def prunable(connection: sqlite3.Connection, pruning: Pruning) -> dict[Setting, int]:
    """Return how many rows `prune` would remove, by setting."""
    settings, rows, values = _conditions(pruning)
    question = f"""SELECT {", ".join(SETTING)}, count(*) FROM settings JOIN {EVERY_ROW} ON setting = id
        WHERE {settings} AND {rows} GROUP BY id ORDER BY {", ".join(SETTING)}"""  # noqa: S608
    return {setting_of(setting): number for *setting, number in connection.execute(question, values)}


def prune(connection: sqlite3.Connection, pruning: Pruning) -> int:
    """Remove rows, and the settings that are left without any; return how many rows."""
    settings, rows, values = _conditions(pruning)
    removed = 0
    for table in TABLES:
        which = f"setting IN (SELECT id FROM settings WHERE {settings}) AND {rows}"  # noqa: S608
        removed += connection.execute(f"DELETE FROM {table.name} WHERE {which}", values).rowcount  # noqa: S608
    empty = f"id NOT IN (SELECT setting FROM {EVERY_ROW})"  # noqa: S608
    connection.execute(f"DELETE FROM settings WHERE {settings} AND {empty}", values)  # noqa: S608
    return removed


def _conditions(pruning: Pruning) -> tuple[str, str, dict[str, str]]:
    """Return the condition on a setting, the one on a row, and the values they name."""
    settings, rows, values = ["TRUE"], ["TRUE"], dict[str, str]()
    if pruning.device is not None:
        settings.append("instr(lower(device), lower(:device))")
        values["device"] = pruning.device
    if pruning.keep_runtime is not None:
        settings.append("instr(runtime, :program) = 1 AND runtime <> :runtime")
        values |= {"runtime": pruning.keep_runtime, "program": f"{pruning.keep_runtime.split(' ')[0]} "}
    if pruning.before is not None:
        rows.append("date < :before")
        values["before"] = pruning.before
    return " AND ".join(settings), " AND ".join(rows), values
