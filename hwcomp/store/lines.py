"""The exchange format: what a line of an export says, checked strictly; independent of how it is written down."""

import json
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hwcomp.errors import InputError
from hwcomp.provenance import Provenance
from hwcomp.store.rows import KernelRow, Method, Observation, RunRow, Setting, check_date, now
from hwcomp.store.tables import SETTING

FORMAT = "hwcomp-latency"
VERSION = 1
HEADER = {"format": FORMAT, "version": VERSION}

Content = KernelRow | RunRow | tuple[Observation, str]
"""The latency of a kernel or of a network, or how a device was found and when."""

Record = tuple[Setting, Content]

LONGEST_SHOWN = 60


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    device: str
    runtime: str
    threads: int
    date: str


class _Latency(_Line):
    median_us: float
    p10_us: float
    p90_us: float
    runs: int
    provenance: Provenance


class _Kernel(_Latency):
    row: Literal["kernel"]
    kernel: str
    method: Method
    error: float


class _Run(_Latency):
    row: Literal["run"]
    network: str
    assignment: dict[str, str]
    control_us: float


class _Observation(_Line):
    row: Literal["observation"]
    governor: str | None = None
    clock_mhz: float | None = None


_ANY: TypeAdapter[_Kernel | _Run | _Observation] = TypeAdapter(
    Annotated[_Kernel | _Run | _Observation, Field(discriminator="row")]
)


def to_line(setting: Setting, content: Content) -> dict[str, Any]:
    """Return what a line says of a row."""
    if isinstance(content, tuple):
        observation, date = content
        return {"row": "observation", **_fields(setting), **_fields(observation), "date": date}
    return {"row": "kernel" if isinstance(content, KernelRow) else "run", **_fields(setting), **_fields(content)}


def from_line(line: bytes | dict[str, Any]) -> Record:
    """Return the row of a line: JSON text, or its fields.

    Raises:
        ValueError: something is wrong with it; the text says what.
    """
    try:
        checked = _ANY.validate_json(line) if isinstance(line, bytes) else _ANY.validate_python(line)
    except ValidationError as error:
        raise ValueError(_reason(error)) from error
    setting = Setting(device=checked.device, runtime=checked.runtime, threads=checked.threads)
    content = _content(checked)
    if checked.date > now(days_ago=-1):
        raise ValueError(f"date lies in the future (found {checked.date!r}); was the clock of the device right?")
    return setting, content


def _content(line: _Kernel | _Run | _Observation) -> Content:
    rest = {name: value for name, value in vars(line).items() if name not in ("row", *SETTING)}
    if isinstance(line, _Kernel):
        return KernelRow(**rest)
    if isinstance(line, _Run):
        return RunRow(**rest)
    check_date("date", line.date)
    return Observation(governor=line.governor, clock_mhz=line.clock_mhz), line.date


def check_header(found: Any, origin: str) -> None:
    """Make sure that a file is an export that this version can read.

    Raises:
        InputError: it is none, or of a newer version.
    """
    if not (isinstance(found, dict) and found.get("format") == FORMAT and found.keys() == HEADER.keys()):
        raise InputError(f"{origin} is no export of latencies: it must begin with {json.dumps(HEADER)}.")
    if found["version"] != VERSION:
        raise InputError(
            f"{origin}: the export has version {found['version']!r:.20}, this hwcomp reads {VERSION}: update hwcomp, "
            "or export again with the same version."
        )


def _fields(row: Setting | KernelRow | RunRow | Observation) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _reason(error: ValidationError) -> str:
    """Return the first complaint in words."""
    first = error.errors(include_url=False)[0]
    names = [str(part) for part in first["loc"]]
    field = names[-1][:LONGEST_SHOWN] if names else ""
    if first["type"] == "json_invalid":
        return f"not JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
    if first["type"] == "extra_forbidden":
        return f"unknown field {field!r}"
    if first["type"] == "missing":
        return f"no field {field!r}"
    if first["type"].startswith("union_tag"):
        return "field 'row' must be 'kernel', 'run' or 'observation'"
    found = repr(first["input"])[:LONGEST_SHOWN]
    return f"field {field!r}: {first['msg']} (found {found})" if field else f"{first['msg']} (found {found})"
