"""The report: tables of layers, channels and the search, and the results; in the terminal, and as an HTML page."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hwcomp.headlines import headlines
from hwcomp.manifest import Manifest, SiteReport
from hwcomp.report_facts import format_bytes, format_us, is_shrunk, narrowed, slowest
from hwcomp.report_html import render_html
from hwcomp.report_search import search_parts
from hwcomp.report_sites import MAX_ROWS, SHOWN_ROWS, SiteTable, channel_parts
from hwcomp.report_versions import version_parts
from hwcomp.stages import write_atomically

__all__ = ["format_bytes", "format_us", "render_terminal", "write_html"]


def render_terminal(manifest: Manifest, *, all_sites: bool = False) -> Group:
    """Return the report for a terminal: layers, channels, search and results; of long tables a part.

    Args:
        manifest: what is reported.
        all_sites: show all rows of long tables.
    """
    sites: Sequence[SiteReport] = manifest.sites
    if not all_sites and len(sites) > MAX_ROWS:
        sites = slowest(sites, SHOWN_ROWS)
    hidden = len(manifest.sites) - len(sites)
    more = [Text(f"... and {hidden} more sites (all of them in report.html)", style="dim")] if hidden else []
    if is_shrunk(manifest):
        more.append(Text("in float: the smaller network with every layer in float", style="dim"))
    channels = [Text(), *channel_parts(manifest, all_groups=all_sites)] if narrowed(manifest) else []
    searched = search_parts(manifest, all_epochs=all_sites)
    layers: list[RenderableType] = [SiteTable(manifest=manifest, sites=sites), *more] if manifest.sites else []
    return Group(*layers, *version_parts(manifest), *channels, *searched, Text(), _results(manifest))


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
