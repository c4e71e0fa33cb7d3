"""Latencies as JSON lines: a header, then one row a line."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hwcomp.errors import InputError
from hwcomp.store.lines import HEADER, check_header

UNIT = "line"

LONGEST_LINE = 2**20
"""In bytes: room for the assignment of ten thousand sites; anything longer must not fill the memory."""

LINES_PER_STEP = 1000


def write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write lines, one by one."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(HEADER) + "\n")
        for line in lines:
            file.write(json.dumps(line, allow_nan=False) + "\n")


def read(path: Path, progress: Callable[[float], None]) -> Iterator[tuple[int, bytes]]:
    """Yield each line behind the header with its number, one by one.

    Args:
        path: of the file.
        progress: called now and then with the share that is read.

    Raises:
        InputError: there is no header, or a line is too long.
        OSError: the file cannot be read.
    """
    size, done = max(path.stat().st_size, 1), 0
    with path.open("rb") as file:
        check_header(_json(file.readline(LONGEST_LINE)), f"'{path}', line 1,")
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=2):
            if len(line) > LONGEST_LINE:
                raise InputError(f"'{path}', line {number}: longer than {LONGEST_LINE} bytes; nothing was imported.")
            yield number, line
            done += len(line)
            if number % LINES_PER_STEP == 0:
                progress(done / size)


def _json(line: bytes) -> Any:
    """Return the value of a line, None if it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
