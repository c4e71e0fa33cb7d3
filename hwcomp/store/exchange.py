"""Tables that move between machines: a store written to a file, and a file taken into a store."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwcomp.errors import InputError
from hwcomp.store import jsonl
from hwcomp.store.database import reading
from hwcomp.store.latencies import Store
from hwcomp.store.lines import from_line, to_line
from hwcomp.store.staging import Merged, Staging

Progress = Callable[[float], None]

LINES_PER_STEP = 1000


@dataclass(frozen=True, slots=True)
class _Format:
    unit: str
    write: Callable[[Path, Iterable[dict[str, Any]]], None]
    read: Callable[[Path, Progress], Iterator[tuple[int, Any]]]


def export_rows(store: Store, path: Path, progress: Progress) -> int:
    """Write all rows of a store to a .jsonl or .parquet file, whole or not at all; return how many.

    Args:
        store: what to write.
        path: of the file; what is there is replaced.
        progress: called now and then with the share that is written.

    Raises:
        InputError: the file cannot be written, its name has another ending, or the library for it is missing.
    """
    written = _format(path)
    total = sum(summary.kernels + summary.runs for summary in store.settings())
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        try:
            written.write(temporary, _lines(store, total, progress))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror or error}.") from error
    return total


def _lines(store: Store, total: int, progress: Progress) -> Iterator[dict[str, Any]]:
    for summary in store.settings():
        if summary.observation is not None and summary.observation_date is not None:
            yield to_line(summary.setting, (summary.observation, summary.observation_date))
    for number, (setting, row) in enumerate(store.every_row()):
        if number % LINES_PER_STEP == 0:
            progress(number / max(total, 1))
        yield to_line(setting, row)


def import_rows(store: Store, path: Path, progress: Progress) -> list[Merged]:
    """Take all rows of a .jsonl or .parquet file into a store, or none; of each key the newest row stays.

    Args:
        store: what to add to.
        path: of the file; nothing in it is ever executed, and it may be larger than the memory.
        progress: called now and then with the share that is read.

    Raises:
        InputError: a row is wrong (its place and the reason are told), the file cannot be read or is no export, its
            name has another ending, or the library for it is missing.
    """
    found = _format(path)
    with reading(store.path) as connection:
        staging = Staging(connection)
        number = 0
        try:
            for number, line in found.read(path, progress):
                staging.add(number, *from_line(line))
        except ValueError as error:
            raise InputError(f"'{path}', {found.unit} {number}: {error}; nothing was imported.") from error
        except OSError as error:
            raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
        return staging.merge()


def _format(path: Path) -> _Format:
    """Return how a file of this ending is written and read."""
    if path.suffix == ".jsonl":
        return _Format(jsonl.UNIT, jsonl.write, jsonl.read)
    if path.suffix != ".parquet":
        raise InputError(f"'{path}' must end in .jsonl or .parquet: the ending says what is written or read.")
    try:
        from hwcomp.store import parquet  # noqa: PLC0415 - an optional library
    except ModuleNotFoundError as error:
        raise InputError("Parquet files need pyarrow: pip install 'hwcomp[parquet]', or use a .jsonl file.") from error
    return _Format(parquet.UNIT, parquet.write, parquet.read)
