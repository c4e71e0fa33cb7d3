"""What the terminal shows of layers and channels, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from hwcomp.manifest import Manifest, SiteReport
from hwcomp.report_facts import (
    before_of,
    conversions_us,
    format_us,
    is_measured,
    narrowed,
    printable,
    shortened,
    source_of,
)

MAX_ROWS = 40
SHOWN_ROWS = 25
"""Rows where there would be more than MAX_ROWS."""

WIDE = 100
"""Columns of a terminal that has room for predictions beside reasons."""

NARROW = 72
"""Columns below which choices are folded."""

NAME_SHARE = 4
LEAST_NAME = 14
"""Names take a quarter of a terminal at most, but so many characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteTable:
    """Latencies and reasons of layers, fitted to the terminal: long names are shortened in the middle.

    Attributes:
        manifest: of the network.
        sites: those that are shown.
    """

    manifest: Manifest
    sites: Sequence[SiteReport]

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table for a width."""
        yield self._table(options.max_width)

    def _table(self, width: int) -> Table:
        manifest, measured = self.manifest, is_measured(self.manifest)
        is_wide = measured and width >= WIDE  # an estimate is its own prediction
        style = "bold" if measured else "bold yellow"
        table = Table(title=self._title(), title_justify="left", title_style=style, box=box.SQUARE)
        table.add_column("site", no_wrap=True)
        table.add_column("choice", overflow="fold", no_wrap=width >= NARROW)
        for name in (before_of(manifest), "after", *(["predicted"] if is_wide else [])):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("why", overflow="fold")
        limit = max(LEAST_NAME, width // NAME_SHARE)
        for site in self.sites:
            times = [site.baseline_latency_us, site.latency_us, site.predicted_latency_us][: 3 if is_wide else 2]
            names = (Text(shortened(printable(text), limit, "...")) for text in (site.name, site.choice))
            table.add_row(*names, *map(format_us, times), Text(printable(site.reason)))
        if manifest.conversions:
            tensors = f"{len(manifest.conversions)} tensors change format or layout"
            times_after = [format_us(conversions_us(manifest)), *([""] if is_wide else [])]
            table.add_section()
            table.add_row("conversions", "", "", *times_after, tensors, style="italic")
        return table

    def _title(self) -> str:
        shown = len(self.sites)
        is_all = shown == len(self.manifest.sites)
        part = "" if is_all else f" (the {shown} slowest in float, in execution order)"
        return f"Latency per site, {source_of(self.manifest)}{part}"


def channel_parts(manifest: Manifest, *, all_groups: bool) -> list[Table | Text]:
    """Return the groups that lost channels, of many only those that lost the largest share unless ``all_groups``."""
    fewer = narrowed(manifest)
    shown = fewer
    if not all_groups and len(fewer) > MAX_ROWS:
        limit = sorted(width.kept / width.channels for width in fewer)[SHOWN_ROWS - 1]
        shown = [width for width in fewer if width.kept / width.channels <= limit][:SHOWN_ROWS]
    table = Table(title="Channels that stay", title_justify="left", title_style="bold", box=box.SQUARE)
    table.add_column("group", overflow="fold")
    for name in ("kept", "of", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for width in shown:
        share = f"{100 * width.kept / width.channels:.0f} %"
        table.add_row(Text(printable(width.group)), str(width.kept), str(width.channels), share)
    hidden, whole = len(fewer) - len(shown), len(manifest.widths) - len(fewer)
    lines = [f"... and {hidden} more groups are narrower (all of them in report.html)"] if hidden else []
    lines += [f"{whole} more groups keep all of their channels"] if whole else []
    return [table, *(Text(line, style="dim") for line in lines)]
