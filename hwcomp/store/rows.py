"""What the latency store holds; a row that exists is valid, wherever it came from."""

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from hwcomp.provenance import Provenance

Method = Literal["network", "alone"]
"""A kernel was seen inside a whole network, or in a small graph of its own."""

METHODS: tuple[str, ...] = get_args(Method)
PROVENANCES: tuple[str, ...] = get_args(Provenance)

MAX_INTEGER = 2**53
"""Integers up to here mean the same in SQLite, in Parquet and in every JSON reader."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?(\+00:00|Z))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a latency depends on besides the kernel.

    Attributes:
        device: canonical text of the fingerprint: "cpu: ... | isa: ... | cores: ..." or "simulated: arm_cortex_a72".
        runtime: name and version: "onnxruntime 1.31.1".
        threads: of the runtime.
    """

    device: str
    runtime: str
    threads: int

    def __post_init__(self) -> None:
        _text("device", self.device)
        _text("runtime", self.runtime)
        _integer("threads", self.threads, least=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelRow:
    """The latency of one kernel, in microseconds.

    Attributes:
        kernel: its canonical text, the key of a ``Kernel``.
        runs: how many the quantiles are of; 0 if estimated.
        date: ISO, in UTC: a day, or a second with "+00:00" or "Z".
        error: relative error, if it is a model's; 0 if measured.
    """

    kernel: str
    method: Method
    median_us: float
    p10_us: float
    p90_us: float
    runs: int
    date: str
    provenance: Provenance
    error: float = 0.0

    def __post_init__(self) -> None:
        _text("kernel", self.kernel)
        _choice("method", self.method, METHODS)
        _quantiles(self.p10_us, self.median_us, self.p90_us)
        _integer("runs", self.runs, least=0)
        check_date("date", self.date)
        _choice("provenance", self.provenance, PROVENANCES)
        if not (_is_number(self.error) and 0 <= self.error < math.inf):
            raise ValueError(f"error must be a finite number, not negative (found {self.error!r})")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """The latency of a whole network under one assignment, in microseconds.

    Attributes:
        network: hash of its search space.
        assignment: site -> candidate.
        runs: how many the quantiles are of; 0 if estimated.
        date: ISO, in UTC: a day, or a second with "+00:00" or "Z".
        control_us: median of the float network in the same rounds.
    """

    network: str
    assignment: Mapping[str, str]
    median_us: float
    p10_us: float
    p90_us: float
    runs: int
    date: str
    provenance: Provenance
    control_us: float

    def __post_init__(self) -> None:
        _text("network", self.network)
        for site, candidate in self.assignment.items():
            _text("site of the assignment", site)
            _text("candidate of the assignment", candidate)
        _quantiles(self.p10_us, self.median_us, self.p90_us)
        _integer("runs", self.runs, least=0)
        check_date("date", self.date)
        _choice("provenance", self.provenance, PROVENANCES)
        _positive("control_us", self.control_us)


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """How the device was found; the latest is kept beside it, and is no part of the key."""

    governor: str | None
    clock_mhz: float | None

    def __post_init__(self) -> None:
        if self.governor is not None:
            _text("governor", self.governor)
        if self.clock_mhz is not None:
            _positive("clock_mhz", self.clock_mhz)


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingSummary:
    """What the store holds of one setting: numbers of rows, their dates and kinds, the latest observation."""

    setting: Setting
    kernels: int
    runs: int
    first_date: str | None
    last_date: str | None
    provenances: tuple[Provenance, ...]
    observation: Observation | None
    observation_date: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruning:
    """Which rows to remove: those that meet all the conditions that are given; without any, all.

    Attributes:
        device: text that the device contains.
        keep_runtime: the runtime whose rows stay.
        before: date before which a row was made.
    """

    device: str | None = None
    keep_runtime: str | None = None
    before: str | None = None


def now(*, days_ago: float = 0) -> str:
    """Return the time as rows carry it: ISO, in UTC, to the second."""
    time = dt.datetime.now(tz=dt.timezone.utc) - dt.timedelta(days=days_ago)
    return time.isoformat(timespec="seconds")


def check_date(name: str, value: object) -> None:
    """Raise ValueError unless a value is a date of the form that rows carry; such dates sort as text."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            dt.datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            pass
        else:
            return
    raise ValueError(f"{name} must be an ISO date in UTC such as 2026-01-31T12:00:00+00:00 (found {value!r})")


def _text(name: str, value: object) -> None:
    """Refuse text that is empty, or that would not be one plain line in a terminal and a file."""
    if not (isinstance(value, str) and value and value.isprintable()):
        raise ValueError(f"{name} must be one line of printable text, not empty (found {value!r:.100})")


def _choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)} (found {value!r:.100})")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _integer(name: str, value: object, *, least: int) -> None:
    if not (isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_INTEGER):
        raise ValueError(f"{name} must be a whole number, {least} or more (found {value!r:.100})")


def _positive(name: str, value: float) -> None:
    if not (_is_number(value) and 0 < value < math.inf):
        raise ValueError(f"{name} must be a finite number above zero (found {value!r:.100})")


def _quantiles(p10_us: float, median_us: float, p90_us: float) -> None:
    for name, value in (("p10_us", p10_us), ("median_us", median_us), ("p90_us", p90_us)):
        _positive(name, value)
    if not p10_us <= median_us <= p90_us:
        raise ValueError(f"p10_us <= median_us <= p90_us must hold (found {p10_us}, {median_us}, {p90_us})")
