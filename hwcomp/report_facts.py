"""What a report shows of a manifest: times and sizes with their units, and what follows from its numbers."""

import math
from collections.abc import Sequence

from hwcomp.manifest import LatencyUs, Manifest, SiteReport, TrainingReport, WidthReport
from hwcomp.provenance import Provenance

WEAKEST_FIRST: tuple[Provenance, ...] = ("analytic", "simulated", "measured")

TIME_UNITS = ((1.0, "us"), (1e3, "ms"), (1e6, "s"))
SIZE_UNITS = ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"))


def format_us(us: float) -> str:
    """Return a time given in microseconds with about three digits, in us, ms or s."""
    return _in_unit(us, TIME_UNITS)


def format_bytes(n: int) -> str:
    """Return a size with about three digits, in B, kB, MB or GB (1 MB = 1,000,000 bytes)."""
    return _in_unit(n, SIZE_UNITS)


def _in_unit(value: float, units: Sequence[tuple[float, str]]) -> str:
    if not math.isfinite(value):
        return "n/a"
    printed = abs(float(f"{value:.3g}"))  # 999.7 us is printed as 1.00 ms, not as 1000 us
    scale, unit = next((pair for pair in reversed(units) if printed >= pair[0]), units[0])
    decimals = 0 if printed == 0 or unit == "B" else max(0, 2 - int(math.log10(max(printed / scale, 1))))
    return f"{value / scale:.{decimals}f} {unit}"


def format_spread(latency: LatencyUs) -> str:
    """Return the 10th and 90th percentile, with the unit once if it is the same."""
    low, high = format_us(latency.p10), format_us(latency.p90)
    return f"{low.split()[0]}-{high}" if low.split()[-1] == high.split()[-1] else f"{low} - {high}"


def printable(text: str) -> str:
    """Return text that came with a model, without anything that would steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def shortened(name: str, limit: int, mark: str) -> str:
    """Return a name of at most so many characters; where some are left out in the middle, a mark says so."""
    if len(name) <= limit:
        return name
    room = limit - len(mark)
    return f"{name[: room - room // 2]}{mark}{name[-(room // 2) :]}"


def metric_decimals(*values: float) -> int:
    """Return how many decimals metrics need: they are percentages, or shares of 1."""
    return 2 if max(map(abs, values)) > 1 else 4


def format_metric(value: float | None, decimals: int) -> str:
    """Return a metric, or "n/a" where nobody could take it."""
    return "n/a" if value is None else f"{value:.{decimals}f}"


def format_duration(seconds: float) -> str:
    """Return a duration in s, min or h."""
    if seconds < 100:
        return f"{seconds:.{1 if seconds < 9.95 else 0}f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"


def provenance_of(manifest: Manifest) -> Provenance:
    """Return where the latencies come from: a comparison is worth no more than its weaker side."""
    kinds = {manifest.baseline.latency_us.provenance, manifest.compiled.latency_us.provenance}
    return next(kind for kind in WEAKEST_FIRST if kind in kinds)


def is_measured(manifest: Manifest) -> bool:
    """Return whether both networks ran on the target."""
    return provenance_of(manifest) == "measured"


def source_of(manifest: Manifest) -> str:
    """Return what a table's title says of where its latencies come from."""
    kind = provenance_of(manifest)
    return kind if kind == "measured" else f"{kind}: nothing was measured"


def conversions_us(manifest: Manifest) -> float:
    """Return the sum of all conversions in microseconds."""
    return sum(conversion.latency_us for conversion in manifest.conversions)


def slowest(sites: Sequence[SiteReport], count: int) -> list[SiteReport]:
    """Return the sites that are slowest in the float network, in execution order."""
    kept = sorted(range(len(sites)), key=lambda index: -sites[index].baseline_latency_us)[:count]
    return [sites[index] for index in sorted(kept)]


def telling_rounds(manifest: Manifest) -> list[float]:
    """Return the speed-ups by round; none if they tell nothing: the float network against itself gives 1 in each."""
    ratios = [ratio for ratio in manifest.speedup_rounds if math.isfinite(ratio)]
    return ratios if is_measured(manifest) and len(set(ratios)) > 1 else []


def difference(predicted: float, measured: float) -> str:
    """Return how far a prediction is from the measurement, in percent of the measurement."""
    if not measured > 0 or not math.isfinite(predicted):
        return "n/a"
    return f"{100 * (predicted / measured - 1):+.1f} %"


def is_shrunk(manifest: Manifest) -> bool:
    """Return whether the method was one that removes channels; then layers are those of the smaller network."""
    return manifest.method != "post_training"


def before_of(manifest: Manifest) -> str:
    """Return what a layer's time before compilation is called; after shrinking it is the smaller network's in float."""
    return "in float" if is_shrunk(manifest) else "before"


def narrowed(manifest: Manifest) -> list[WidthReport]:
    """Return the groups that lost channels."""
    return [width for width in manifest.widths if width.kept < width.channels]


def training_steps(manifest: Manifest) -> list[list[TrainingReport]]:
    """Return the epochs of each training; there are several where channels were removed in steps or after a search."""
    steps: list[list[TrainingReport]] = []
    searched = len(manifest.search)
    for record in manifest.training:
        if not steps or record.epoch <= steps[-1][-1].epoch or record.epoch == searched + 1:
            steps.append([])
        steps[-1].append(record)
    return steps
