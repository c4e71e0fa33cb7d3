"""What the terminal shows of the versions of a whole network, as a table."""

from rich.table import Table
from rich.text import Text

from hwcomp.manifest import Manifest, VersionReport
from hwcomp.report_facts import format_us, printable, source_of
from hwcomp.report_search import empty_table


def version_parts(manifest: Manifest) -> list[Table | Text]:
    """Return the versions that were compared, the fastest first, and why others were not; nothing if there are none."""
    if not manifest.versions:
        return []
    title = f"Versions of the network, {source_of(manifest)}"
    table = empty_table(title, "version", "latency", "speed-up", "off by", "")
    compared = [version for version in manifest.versions if not version.refused]
    for version in compared:
        table.add_row(Text(version.name), *_numbers(version), style="bold" if version.taken else "")
    refused = [version for version in manifest.versions if version.refused]
    lines = [Text(f"{one.name}: not compared. {printable(one.refused)}", style="dim") for one in refused]
    return [table, *lines]


def _numbers(version: VersionReport) -> tuple[str, str, str, str]:
    latency = "" if version.latency_us is None else format_us(version.latency_us)
    speedup = "" if version.speedup is None else f"{version.speedup:.2f}x"
    off = "not known" if version.distance is None else f"{version.distance:.1e}"
    off = off if version.drop is None else f"{off}, {version.drop:.2f} points"
    return latency, speedup, off, "taken" if version.taken else ""
