"""The report: a table of layers and the results in the terminal, and the same with figures as an HTML page."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hwcomp.headlines import headlines
from hwcomp.manifest import Manifest, SiteReport
from hwcomp.report_facts import (
    before_of,
    conversions_us,
    format_bytes,
    format_us,
    is_measured,
    is_shrunk,
    narrowed,
    provenance_of,
    slowest,
)
from hwcomp.report_html import render_html
from hwcomp.stages import write_atomically

__all__ = ["format_bytes", "format_us", "render_terminal", "write_html"]

MAX_SITES = 40
SHOWN_SITES = 25
"""Sites in the terminal where there are more than MAX_SITES."""


def render_terminal(manifest: Manifest, *, all_sites: bool = False) -> Group:
    """Return the report for a terminal: layers, of many only the slowest unless ``all_sites``, channels, results."""
    sites: Sequence[SiteReport] = manifest.sites
    if not all_sites and len(sites) > MAX_SITES:
        sites = slowest(sites, SHOWN_SITES)
    hidden = len(manifest.sites) - len(sites)
    more = [Text(f"... and {hidden} more sites (all of them in report.html)", style="dim")] if hidden else []
    if is_shrunk(manifest):
        more.append(Text("in float: the smaller network before its precision was chosen", style="dim"))
    channels = [Text(), *_channels(manifest, all_groups=all_sites)] if narrowed(manifest) else []
    return Group(_site_table(manifest, sites), *more, *channels, Text(), _results(manifest))


def _site_table(manifest: Manifest, sites: Sequence[SiteReport]) -> Table:
    measured = is_measured(manifest)
    table = Table(
        title=_title(manifest, len(sites)),
        title_justify="left",
        title_style="bold" if measured else "bold yellow",
        box=box.SQUARE,
    )
    table.add_column("site", overflow="fold")
    table.add_column("choice", overflow="fold")
    for name in (
        before_of(manifest),
        "after",
        *(["predicted"] if measured else []),
    ):  # an estimate is its own prediction
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for site in sites:
        times = [site.baseline_latency_us, site.latency_us, site.predicted_latency_us][: 3 if measured else 2]
        table.add_row(_plain(site.name), _plain(site.choice), *map(format_us, times), _plain(site.reason))
    if manifest.conversions:
        tensors = f"{len(manifest.conversions)} tensors change format or layout"
        times_after = [format_us(conversions_us(manifest)), *([""] if measured else [])]
        table.add_section()
        table.add_row("conversions", "", "", *times_after, tensors, style="italic")
    return table


def _channels(manifest: Manifest, *, all_groups: bool) -> list[Table | Text]:
    """Return the groups that lost channels, of many only those that lost the largest share unless ``all_groups``."""
    fewer = narrowed(manifest)
    shown = fewer
    if not all_groups and len(fewer) > MAX_SITES:
        limit = sorted(width.kept / width.channels for width in fewer)[SHOWN_SITES - 1]
        shown = [width for width in fewer if width.kept / width.channels <= limit][:SHOWN_SITES]
    table = Table(title="Channels that stay", title_justify="left", title_style="bold", box=box.SQUARE)
    table.add_column("group", overflow="fold")
    for name in ("kept", "of", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for width in shown:
        share = f"{100 * width.kept / width.channels:.0f} %"
        table.add_row(_plain(width.group), str(width.kept), str(width.channels), share)
    hidden, whole = len(fewer) - len(shown), len(manifest.widths) - len(fewer)
    lines = [f"... and {hidden} more groups are narrower (all of them in report.html)"] if hidden else []
    lines += [f"{whole} more groups keep all of their channels"] if whole else []
    return [table, *(Text(line, style="dim") for line in lines)]


def _title(manifest: Manifest, shown: int) -> str:
    kind = provenance_of(manifest)
    title = "Latency per site, measured" if kind == "measured" else f"Latency per site, {kind}: nothing was measured"
    return title if shown == len(manifest.sites) else f"{title} (the {shown} slowest in float, in execution order)"


def _plain(text: str) -> Text:
    """Return text that came with a model, without markup or anything that would steer the terminal."""
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))


def _results(manifest: Manifest) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for line in headlines(manifest):
        style = {True: "green", False: "bold red", None: ""}[line.good]
        grid.add_row(line.label, Text(line.text, style=style))
    return grid


def write_html(manifest: Manifest, path: Path) -> None:
    """Write the report as one HTML file that needs nothing else.

    Raises:
        OSError: the file cannot be written; one that was there before is still whole.
    """
    write_atomically(path, render_html(manifest).encode())
