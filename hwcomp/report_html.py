"""What came of a compilation, in words and figures, and the HTML page that shows it and needs nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from hwcomp.manifest import BudgetReport, LatencyUs, Manifest, SiteReport
from hwcomp.provenance import Provenance

WEAKEST_FIRST: tuple[Provenance, ...] = ("analytic", "simulated", "measured")
SAME_SPEED = 0.005
"""Speed-ups this close to 1 are called no speed-up."""

TIME_UNITS = ((1.0, "us"), (1e3, "ms"), (1e6, "s"))
SIZE_UNITS = ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"))

MAX_BARS = 60
"""Layers in the bar chart; the table has all of them."""

LABEL_LENGTH = 26
TYPESET = {
    "->": "\N{RIGHTWARDS ARROW}",
    "+-": "\N{PLUS-MINUS SIGN}",
    " us": "\N{NO-BREAK SPACE}\N{MICRO SIGN}s",
    " ms": "\N{NO-BREAK SPACE}ms",
    " MB": "\N{NO-BREAK SPACE}MB",
}
COLOURS = {
    "float": "#8a94a0",
    "int8": "#2f7de1",
    "int8_float_output": "#12a5a5",
    "weight8": "#d98a00",
    "weight4": "#c2559d",
}
OTHER_COLOUR = "#7d5fd3"


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """One result.

    Attributes:
        label: what it is about.
        value: the number.
        words: what the number says.
        detail: what it rests on.
        good: whether it is what was asked for; None where nothing was asked.
    """

    label: str
    value: str
    words: str = ""
    detail: str = ""
    good: bool | None = None

    @property
    def text(self) -> str:
        """All of it in one line."""
        line = " ".join(part for part in (self.value, self.words) if part)
        return f"{line} ({self.detail})" if self.detail else line


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


def provenance_of(manifest: Manifest) -> Provenance:
    """Return where the latencies come from: a comparison is worth no more than its weaker side."""
    kinds = {manifest.baseline.latency_us.provenance, manifest.compiled.latency_us.provenance}
    return next(kind for kind in WEAKEST_FIRST if kind in kinds)


def is_measured(manifest: Manifest) -> bool:
    """Return whether both networks ran on the target."""
    return provenance_of(manifest) == "measured"


def conversions_us(manifest: Manifest) -> float:
    """Return the sum of all conversions in microseconds."""
    return sum(conversion.latency_us for conversion in manifest.conversions)


def slowest(sites: Sequence[SiteReport], count: int) -> list[SiteReport]:
    """Return the sites that are slowest in the float network, in execution order."""
    kept = sorted(range(len(sites)), key=lambda index: -sites[index].baseline_latency_us)[:count]
    return [sites[index] for index in sorted(kept)]


def headlines(manifest: Manifest) -> list[Headline]:
    """Return the results, the most important first."""
    found = (_speedup, _latency, _accuracy, _size, _prediction, _budget)
    return [headline(manifest) for headline in found]


def _speedup(manifest: Manifest) -> Headline:
    ratio, kind = manifest.speedup, provenance_of(manifest)
    if kind != "measured":
        detail = f"{kind}: no such device was measured"
        return Headline(label="Speed-up", value=f"estimated {ratio:.1f}x", detail=detail)
    slower = ratio < 1 - SAME_SPEED
    words = "faster than float, measured" if ratio > 1 + SAME_SPEED else "the speed of float, measured"
    rounds, detail = telling_rounds(manifest), ""
    if rounds:
        low, high = np.percentile(rounds, [10, 90])
        detail = f"p10-p90 of rounds {low:.2f}x-{high:.2f}x, {len(rounds)} rounds"
    good = False if slower else None
    return Headline(label="Speed-up", value=f"{ratio:.2f}x", words=words, detail=detail, good=good)


def telling_rounds(manifest: Manifest) -> list[float]:
    """Return the speed-ups by round; none if they tell nothing: the float network against itself gives 1 in each."""
    ratios = [ratio for ratio in manifest.speedup_rounds if math.isfinite(ratio)]
    return ratios if is_measured(manifest) and len(set(ratios)) > 1 else []


def _latency(manifest: Manifest) -> Headline:
    before, after = manifest.baseline.latency_us, manifest.compiled.latency_us
    value = f"{format_us(before.median)} -> {format_us(after.median)}"
    if not is_measured(manifest):
        return Headline(label="Latency", value=f"estimated {value}", detail=f"{provenance_of(manifest)}: not measured")
    detail = f"measured, p10-p90 {_spread(before)} -> {_spread(after)}, {after.runs} runs"
    return Headline(label="Latency", value=value, detail=detail)


def _spread(latency: LatencyUs) -> str:
    low, high = format_us(latency.p10), format_us(latency.p90)
    return f"{low.split()[0]}-{high}" if low.split()[-1] == high.split()[-1] else f"{low} - {high}"


def _accuracy(manifest: Manifest) -> Headline:
    before, after = manifest.baseline.accuracy, manifest.compiled.accuracy
    if before is None or after is None:
        distance = f"output distance {manifest.compiled.output_distance:.2g}"
        return Headline(label="Accuracy", value=distance, detail="no eval data")
    decimals = 2 if max(abs(before), abs(after)) > 1 else 4  # metrics are percentages, or shares of 1
    change = round(after - before, decimals)
    detail = "unchanged" if not change else f"{abs(change):.{decimals}f} points {'higher' if change > 0 else 'lower'}"
    return Headline(label="Accuracy", value=f"{before:.{decimals}f} -> {after:.{decimals}f}", detail=detail)


def _size(manifest: Manifest) -> Headline:
    before, after = manifest.baseline.size_bytes, manifest.compiled.size_bytes
    ratio = before / after if before and after else 1.0
    detail = f"{ratio:.1f}x smaller" if ratio >= 1.05 else f"{1 / ratio:.1f}x larger" if ratio <= 1 / 1.05 else ""
    return Headline(label="Size", value=f"{format_bytes(before)} -> {format_bytes(after)}", detail=detail)


def _prediction(manifest: Manifest) -> Headline:
    predicted, error = manifest.compiled.predicted_latency_us, manifest.reach.table_error
    value = format_us(predicted) + (f" +- {100 * error:.0f} %" if error > 0 else "")
    if not is_measured(manifest):
        value, detail = f"estimated {value}", f"{provenance_of(manifest)}: not measured"
    else:
        measured = manifest.compiled.latency_us.median
        detail = f"measured {format_us(measured)}, prediction off by {difference(predicted, measured)}"
    return Headline(label="Predicted", value=value, detail=detail)


def difference(predicted: float, measured: float) -> str:
    """Return how far a prediction is from the measurement, in percent of the measurement."""
    if not measured > 0 or not math.isfinite(predicted):
        return "n/a"
    return f"{100 * (predicted / measured - 1):+.1f} %"


def _budget(manifest: Manifest) -> Headline:
    budget = manifest.budget
    reached = {
        "latency": f"reached {format_us(manifest.compiled.latency_us.median)}",
        "speedup": f"reached {manifest.speedup:.2f}x",
        "fastest": "",
    }[budget.kind]
    is_unknown = budget.max_drop is not None and None in (manifest.baseline.accuracy, manifest.compiled.accuracy)
    unchecked = "drop not checked: no eval data" if is_unknown else ""
    return Headline(
        label="Budget",
        value="met" if budget.met else "MISSED",
        words="" if is_measured(manifest) else "by the estimate",
        detail="; ".join(part for part in (_asked(budget), reached, unchecked) if part),
        good=budget.met,
    )


def _asked(budget: BudgetReport) -> str:
    asked = {
        "latency": f"at most {format_us(budget.value)}",
        "speedup": f"at least {budget.value:g}x",
        "fastest": "as fast as possible",
    }[budget.kind]
    return asked if budget.max_drop is None else f"{asked}, at most {budget.max_drop:g} points lost"


def render_html(manifest: Manifest) -> str:
    """Return the report as one HTML page: styles, script, figures and plotly.js are all inside."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - this and plotly take a while to import
    from markupsafe import Markup  # noqa: PLC0415
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(time=lambda us: typeset(format_us(us)), typeset=typeset)
    environment.filters.update(number=_number, scientific=_scientific)
    environment.globals.update(difference=difference, colour=_colour)
    template = environment.from_string((files("hwcomp.templates") / "report.html.j2").read_text("utf-8"))
    return template.render(
        manifest=manifest,
        kind=provenance_of(manifest),
        measured=is_measured(manifest),
        headlines=headlines(manifest),
        conversions_us=conversions_us(manifest),
        chart=_chart_data(manifest),
        plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - the library's own file
    )


def typeset(text: str) -> str:
    """Return a text of ours with the signs that a page has and a terminal may lack."""
    for plain, sign in TYPESET.items():
        text = text.replace(plain, sign)
    return text


def _number(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return value if math.isfinite(value) else None


def _scientific(value: float) -> str:
    return "n/a" if not math.isfinite(value) else f"{value:.1e}" if value else "0"


def _colour(choice: str) -> str:
    return COLOURS.get(choice, OTHER_COLOUR)


def _chart_data(manifest: Manifest) -> dict[str, Any]:
    """Return what the page's script draws, in microseconds; texts are escaped, because plotly reads them as HTML."""
    mark = "" if is_measured(manifest) else "\N{ALMOST EQUAL TO} "
    conversions, count = conversions_us(manifest), len(manifest.conversions)
    return {
        "measured": is_measured(manifest),
        "kind": provenance_of(manifest),
        "sites": [_site_data(site, mark) for site in manifest.sites],
        "bars": [_site_data(site, mark) for site in slowest(manifest.sites, MAX_BARS)],
        "conversions": _number(conversions) if count else None,
        "conversions_hover": typeset(f"{count} conversions<br>after {mark}{format_us(conversions)}"),
        "rounds": telling_rounds(manifest),
        "goal": manifest.budget.value if manifest.budget.kind == "speedup" else None,
    }


def _site_data(site: SiteReport, mark: str) -> dict[str, Any]:
    times = (("before", site.baseline_latency_us), ("after", site.latency_us), ("predicted", site.predicted_latency_us))
    lines = [f"<b>{escape(site.name)}</b>", escape(f"{site.op}, {site.choice}")]
    lines += [typeset(f"{name} {mark}{format_us(us)}") for name, us in times]
    return {
        "label": escape(_shortened(site.name)),
        "choice": escape(site.choice),
        "colour": _colour(site.choice),
        "hover": "<br>".join([*lines, f"sensitivity {_scientific(site.sensitivity)}"]),
        "sensitivity": _number(site.sensitivity),
        **{name: _number(us) for name, us in times},
    }


def _shortened(name: str) -> str:
    half = LABEL_LENGTH // 2
    return name if len(name) <= LABEL_LENGTH else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
