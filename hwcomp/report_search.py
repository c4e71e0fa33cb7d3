"""What the terminal shows of a search: its epochs, the contest, and the front, as tables."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from hwcomp.manifest import Manifest, SearchReport
from hwcomp.report_facts import format_metric, format_spread, format_us, is_measured, printable, source_of
from hwcomp.search_facts import (
    HERE,
    contest_decimals,
    dominated,
    front_decimals,
    front_rows,
    score_text,
    search_budget_us,
    uses_multiplier,
    verdict,
)

SHOWN_EPOCHS = 12
"""Epochs in the terminal where there are more: the first, the last, and some evenly between them."""


def search_parts(manifest: Manifest, *, all_epochs: bool = False) -> list[Table | Text]:
    """Return what there is to show of a search, a contest and a front; nothing for methods without them."""
    shown = (
        _epochs(manifest, all_epochs=all_epochs) if manifest.search else [],
        _contest(manifest) if verdict(manifest) is not None else [],
        _front(manifest) if manifest.front else [],
    )
    return [part for parts in shown if parts for part in (Text(), *parts)]


def empty_table(title: str, *columns: str, text_columns: int = 1) -> Table:
    """Return an empty table of a title and columns, of which the first hold text and the others numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SQUARE)
    for index, name in enumerate(columns):
        is_text = index < text_columns
        table.add_column(name, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    return table


def _epochs(manifest: Manifest, *, all_epochs: bool) -> list[Table | Text]:
    budget_us = search_budget_us(manifest)
    has_multiplier = uses_multiplier(manifest)
    title = "Search: expected latency by the table" + ("" if budget_us is None else f", budget {format_us(budget_us)}")
    columns = ["epoch", "expected", *(["of budget"] if budget_us else []), *(["multiplier"] if has_multiplier else [])]
    table = empty_table(title, *columns, "entropy", "loss", text_columns=0)
    shown = manifest.search if all_epochs else evenly(manifest.search, SHOWN_EPOCHS)
    for record in shown:
        share = [f"{100 * record.expected_us / budget_us:.0f} %"] if budget_us else []
        multiplier = [f"{record.multiplier:.3g}"] if has_multiplier else []
        numbers = [f"{record.entropy:.2f}", f"{record.loss:.3g}"]
        table.add_row(str(record.epoch), format_us(record.expected_us), *share, *multiplier, *numbers)
    hidden = len(manifest.search) - len(shown)
    more = f"... and {hidden} more epochs (all of them in report.html)"
    return [table, *([Text(more, style="dim")] if hidden else [])]


def evenly(records: Sequence[SearchReport], count: int) -> list[SearchReport]:
    """Return so many of the records, in order, with the first and the last."""
    if len(records) <= count:
        return list(records)
    return [records[round(index * (len(records) - 1) / (count - 1))] for index in range(count)]


def _contest(manifest: Manifest) -> list[Table | Text]:
    decimals = contest_decimals(manifest)
    seeds = max(len(entry.metrics) for entry in manifest.contest)
    metric = [] if decimals is None else [f"metric ({seeds} seed{'s' if seeds > 1 else ''})"]
    title = f"Contest, trained alike; latency {source_of(manifest)}"
    table = empty_table(title, "configuration", "latency", "speed-up", *metric, "")
    for entry in manifest.contest:
        score = [] if decimals is None else [score_text(entry, decimals)]
        row = (format_us(entry.latency_us), f"{entry.speedup:.2f}x", *score, "chosen" if entry.chosen else "")
        table.add_row(Text(printable(entry.name)), *row, style="bold" if entry.chosen else "")
    lines = [Text(str(verdict(manifest)))]
    if decimals is not None:
        deviation = "mean +- standard deviation of " if seeds > 1 else ""
        lines.append(Text(f"metric: {deviation}the metric on validation samples; higher is better", style="dim"))
    return [table, *lines]


def _front(manifest: Manifest) -> list[Table | Text]:
    rows, measured = front_rows(manifest), is_measured(manifest)
    decimals = front_decimals(rows)
    title = f"Front, {source_of(manifest)}"
    columns = ["speed-up", "latency", *(["p10-p90"] if measured else []), *([] if decimals is None else ["accuracy"])]
    table = empty_table(title, "number", "folder", *columns, text_columns=2)
    for row in rows:
        spread = [format_spread(row.latency_us)] if measured else []
        known = [] if decimals is None else [format_metric(row.accuracy, decimals)]
        numbers = [f"{row.speedup:.2f}x", format_us(row.latency_us.median), *spread, *known]
        table.add_row(str(row.number or ""), row.folder, *numbers, style="bold" if row.folder == HERE else "")
    worse = ", ".join(row.folder for row in dominated(rows))
    note = f"slower and less accurate than another one: {worse}"
    return [table, *([Text(note, style="dim")] if worse else [])]
