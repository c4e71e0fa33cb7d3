"""Trials of schedules, and the file of lines that they are kept in; it is only ever added to."""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hwcomp.errors import InputError
from hwcomp.lowering.plan import Plan
from hwcomp.stages import write_atomically

FORMAT = "hwcomp-tuning/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What measured times depend on; a database holds those of one.

    Attributes:
        tvm: version of TVM.
        device: fingerprint of the machine.
        vectors: the processor that was compiled for, as LLVM names it.
        threads: that shared the work.
        schedules: digest of the code that makes schedules of plans.
    """

    tvm: str
    device: str
    vectors: str
    threads: int
    schedules: str


NAMES = {
    "tvm": "TVM {}",
    "device": "the machine '{}'",
    "vectors": "the processor '{}'",
    "threads": "--threads {}",
    "schedules": "schedules '{}' of hwcomp",
}
"""Field of a setting -> how it is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One measurement of a function.

    Attributes:
        function: its key, see `hwcomp.tuning.tasks`.
        plan: that it was scheduled by; None for the schedule that it gets without one.
        us: its time; None where it does not compile, crashes, takes too long or computes something else.
        ratio: to the time without a plan, paired within rounds; None as above.
        final: measured at length, after the last trial: it decides what is used.
    """

    function: str
    plan: Plan | None
    us: float | None
    ratio: float | None
    final: bool = False


def read_trials(path: Path, setting: Setting) -> list[Trial]:
    """Return the trials in a file, none if there is none; the last line counts only if it is whole.

    Raises:
        InputError: it is of another setting, damaged, or cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"The tuning database '{path}' cannot be read: {error.strerror or error}.") from error
    try:
        head, *rows = [_content(line) for line in lines]
        found = _setting(head)
        trials = [Trial(**{**row, "plan": row["plan"] and Plan.from_json(row["plan"])}) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"The tuning database '{path}' is damaged or none ({error}); it was left as it is: move it away and tune "
            "again, or give another one with --database."
        ) from error
    _check(path, found, setting)
    return trials


def _setting(head: dict[str, Any]) -> Setting:
    if head.pop("format") != FORMAT:
        raise ValueError("another format")
    return Setting(**head)


def add_trial(path: Path, setting: Setting, trial: Trial) -> None:
    """Add a trial to a file, which is made if there is none.

    Raises:
        InputError: it cannot be written.
    """
    plan = None if trial.plan is None else trial.plan.as_json()
    try:
        if not path.exists():
            write_atomically(path, _line({"format": FORMAT, **asdict(setting)}))
        _append(path, _line({**asdict(trial), "plan": plan}))
    except OSError as error:
        raise InputError(
            f"The tuning database '{path}' cannot be written ({error.strerror or error}); give another one with "
            "--database."
        ) from error


def _check(path: Path, found: Setting, wanted: Setting) -> None:
    """Refuse a database of another setting, and name what differs."""
    for field, said in NAMES.items():
        theirs, ours = getattr(found, field), getattr(wanted, field)
        if theirs != ours:
            raise InputError(
                f"The tuning database '{path}' is for {said.format(theirs)}, and this is for {said.format(ours)}; tune "
                "again into another one."
            )


def _line(content: Mapping[str, Any]) -> bytes:
    """Return a line with its checksum in front."""
    text = json.dumps(content).encode()
    return f"{zlib.crc32(text):08x} ".encode() + text + b"\n"


def _content(line: bytes) -> dict[str, Any]:
    """Return what a line holds.

    Raises:
        ValueError: it is not as it was written.
    """
    check, _, text = line.partition(b" ")
    if check != f"{zlib.crc32(text):08x}".encode():
        raise ValueError("a line is not as it was written")
    content: dict[str, Any] = json.loads(text)
    return content


def _append(path: Path, line: bytes) -> None:
    """Write a line at the end, at once; one that a killed process left unfinished goes."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size and not _ends_whole(file, size):
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
    with path.open("ab", buffering=0) as file:
        file.write(line)
        os.fsync(file.fileno())


def _ends_whole(file: BinaryIO, size: int) -> bool:
    file.seek(size - 1)
    return file.read(1) == b"\n"
