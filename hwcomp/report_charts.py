"""Where the marks of the page's own figures stand, in units of their SVG; templates draw them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hwcomp.manifest import Manifest
from hwcomp.report_facts import format_metric, format_us
from hwcomp.search_facts import FLOAT_ROW, HERE, FrontRow, front_decimals, front_rows, search_budget_us

WIDTH, HEIGHT = 640, 330
LEFT, RIGHT, TOP, BOTTOM = 64, 616, 34, 282
"""Where the axes are."""

MAX_DOTS = 40
"""Epochs that are marked by a dot each."""

TICKS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """Values along an axis -> places in the figure.

    Attributes:
        low: value at ``start``.
        high: value at ``end``, above ``low``.
        start: place of ``low``.
        end: place of ``high``.
        ticks: place and text of every tick.
        title: what is shown, with its unit.
    """

    low: float
    high: float
    start: int
    end: int
    ticks: tuple[tuple[float, str], ...] = ()
    title: str = ""

    def at(self, value: float) -> float:
        """Return the place of a value."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def _axis(values: Sequence[float], start: int, end: int, title: str, *, step_of: float = 0.0) -> Axis:
    """Return an axis with some room around its values, and ticks at round numbers of at least ``step_of``."""
    low, high = min(values), max(values)
    room = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
    bare = Axis(low=low - room, high=high + room, start=start, end=end)
    step = max(step_of, _round_step((bare.high - bare.low) / TICKS))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = range(math.ceil(bare.low / step), math.floor(bare.high / step) + 1)
    ticks = tuple((bare.at(number * step), f"{number * step:.{decimals}f}") for number in numbers)
    return Axis(low=bare.low, high=bare.high, start=start, end=end, ticks=ticks, title=title)


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, ... (and tenths of them) that is not smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _time_axis(times_us: Sequence[float], start: int, end: int, title: str) -> Axis:
    """Return an axis of latency, in milliseconds where microseconds would have four digits."""
    scale, unit = (1e3, "ms") if max(times_us) >= 1e3 else (1.0, "us")
    shown = _axis([us / scale for us in times_us], start, end, f"{title}, {unit}")
    return Axis(
        low=shown.low * scale, high=shown.high * scale, start=start, end=end, ticks=shown.ticks, title=shown.title
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """One epoch of a search: where it stands, and what it says."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchChart:
    """Expected latency over epochs; ``budget`` is the place of the budget's line."""

    x: Axis
    y: Axis
    dots: tuple[Dot, ...]
    has_marks: bool
    budget: float | None
    text: str

    @property
    def points(self) -> str:
        """The line as the ``points`` of an SVG polyline."""
        return " ".join(f"{dot.x},{dot.y}" for dot in self.dots)


def search_chart(manifest: Manifest) -> SearchChart:
    """Return the figure of a search of at least one epoch."""
    records, budget_us = manifest.search, search_budget_us(manifest)
    times = [record.expected_us for record in records] + ([] if budget_us is None else [budget_us])
    x = _axis([record.epoch for record in records], LEFT, RIGHT, "epoch", step_of=1)
    y = _time_axis(times, BOTTOM, TOP, "expected latency")
    first, last = format_us(records[0].expected_us), format_us(records[-1].expected_us)
    under = "" if budget_us is None else f"; the budget is {format_us(budget_us)}"
    return SearchChart(
        x=x,
        y=y,
        dots=tuple(
            Dot(
                x=x.at(record.epoch),
                y=y.at(record.expected_us),
                text=f"epoch {record.epoch}: {format_us(record.expected_us)}",
            )
            for record in records
        ),
        has_marks=len(records) <= MAX_DOTS,
        budget=None if budget_us is None else y.at(budget_us),
        text=f"Expected latency by epoch: from {first} in epoch {records[0].epoch} to {last} in epoch "
        f"{records[-1].epoch}{under}.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One network: where it stands, from where to where its latency reaches, and what it says."""

    kind: str
    x: float
    y: float
    low: float
    high: float
    label: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontChart:
    """Latency against accuracy of every network of a front."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    text: str


def front_chart(manifest: Manifest) -> FrontChart | None:
    """Return the figure of a front; None where fewer than two networks have an accuracy."""
    known = [(row, row.accuracy) for row in front_rows(manifest) if row.accuracy is not None]
    if not manifest.front or len(known) < 2:
        return None
    times = [us for row, _ in known for us in (row.latency_us.p10, row.latency_us.median, row.latency_us.p90)]
    is_measured = all(row.latency_us.provenance == "measured" for row, _ in known)
    x = _time_axis(times, LEFT, RIGHT, "latency, p10 to p90" if is_measured else "latency (estimate)")
    y = _axis([accuracy for _, accuracy in known], BOTTOM, TOP, "accuracy")
    decimals = front_decimals([row for row, _ in known]) or 0
    marks = tuple(
        Mark(
            kind={FLOAT_ROW: "float", HERE: "here"}.get(row.folder, "point"),
            x=x.at(row.latency_us.median),
            y=y.at(accuracy),
            low=x.at(row.latency_us.p10),
            high=x.at(row.latency_us.p90),
            label="" if row.number is None else str(row.number),
            text=_told(row, format_metric(accuracy, decimals)),
        )
        for row, accuracy in known
    )
    return FrontChart(x=x, y=y, marks=marks, text="; ".join(mark.text for mark in marks) + ".")


def _told(row: FrontRow, accuracy: str) -> str:
    return f"{row.folder}: {format_us(row.latency_us.median)}, accuracy {accuracy}"
