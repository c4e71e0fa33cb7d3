"""Latencies as a Parquet file: the fields of all kinds of lines as columns, empty where a kind has none."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hwcomp.errors import InputError
from hwcomp.store.lines import HEADER, check_header

UNIT = "row"

ROWS_AT_ONCE = 8192
LARGEST_GROUP = 2**30
"""In bytes, unpacked; a file with larger groups of rows cannot be read in little memory."""

_TEXT, _NUMBER, _INTEGER = pa.string(), pa.float64(), pa.int64()

SCHEMA = pa.schema(
    {
        "row": _TEXT,
        "device": _TEXT,
        "runtime": _TEXT,
        "threads": _INTEGER,
        "kernel": _TEXT,
        "method": _TEXT,
        "network": _TEXT,
        "assignment": pa.map_(_TEXT, _TEXT),
        "median_us": _NUMBER,
        "p10_us": _NUMBER,
        "p90_us": _NUMBER,
        "runs": _INTEGER,
        "control_us": _NUMBER,
        "error": _NUMBER,
        "date": _TEXT,
        "provenance": _TEXT,
        "governor": _TEXT,
        "clock_mhz": _NUMBER,
    },
    metadata={name: str(value) for name, value in HEADER.items()},
)


def write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write lines in groups, as columns."""
    rest = iter(lines)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while some := list(islice(rest, ROWS_AT_ONCE)):
            writer.write_batch(pa.RecordBatch.from_pylist(some, SCHEMA))


def read(path: Path, progress: Callable[[float], None]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the fields of each row with its number, a few thousand in memory at a time.

    Args:
        path: of the file.
        progress: called now and then with the share that is read.

    Raises:
        InputError: it is no Parquet file, damaged, not an export of latencies, or not made for reading in parts.
        OSError: the file cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check(file, path)
            number = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, use_threads=False):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield number, {name: value for name, value in row.items() if value is not None}
                progress(number / file.metadata.num_rows)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is not a whole Parquet file ({error}); nothing was imported.") from error


def _check(file: pq.ParquetFile, path: Path) -> None:
    """Make sure that a file is an export, before any of its rows is read."""
    metadata = file.schema_arrow.metadata or {}
    found = {name: metadata[name.encode()].decode(errors="replace") for name in HEADER if name.encode() in metadata}
    version = found.get("version", "")
    check_header(found | ({"version": int(version)} if version.isdecimal() else {}), f"'{path}'")
    unknown = [name for name in file.schema_arrow.names if name not in SCHEMA.names]
    if unknown:
        raise InputError(f"'{path}': unknown column '{unknown[0]}'; nothing was imported.")
    for index in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(index).total_byte_size
        if size > LARGEST_GROUP:
            raise InputError(
                f"'{path}': row group {index} has {size} bytes, more than {LARGEST_GROUP}; write it in smaller groups."
            )
