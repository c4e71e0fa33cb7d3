"""The report as an HTML page that needs nothing else."""

import math
from html import escape
from typing import Any

from hwcomp.headlines import headlines
from hwcomp.manifest import Manifest, SiteReport
from hwcomp.report_charts import front_chart, search_chart
from hwcomp.report_facts import (
    before_of,
    conversions_us,
    difference,
    format_metric,
    format_spread,
    format_us,
    is_measured,
    is_shrunk,
    narrowed,
    provenance_of,
    shortened,
    slowest,
    telling_rounds,
    training_steps,
)
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


def render_html(manifest: Manifest) -> str:
    """Return the report as one HTML page: styles, script, figures and plotly.js are all inside."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - this and plotly take a while to import
    from markupsafe import Markup  # noqa: PLC0415
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    environment = Environment(
        loader=PackageLoader("hwcomp"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(time=lambda us: typeset(format_us(us)), typeset=typeset)
    environment.filters.update(number=_number, scientific=_scientific)
    environment.globals.update(difference=difference, colour=_colour)
    environment.globals.update(score=score_text, spread=format_spread, metric=format_metric)
    return environment.get_template("report.html.j2").render(
        manifest=manifest,
        kind=provenance_of(manifest),
        measured=is_measured(manifest),
        shrunk=is_shrunk(manifest),
        narrowed=narrowed(manifest),
        before=before_of(manifest),
        headlines=headlines(manifest),
        conversions_us=conversions_us(manifest),
        chart=_chart_data(manifest),
        **_search_parts(manifest),
        plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - the library's own file
    )


def _search_parts(manifest: Manifest) -> dict[str, Any]:
    """Return what the page shows of a search, a contest and a front."""
    rows, found = front_rows(manifest), verdict(manifest)
    return {
        "budget_us": search_budget_us(manifest),
        "has_multiplier": uses_multiplier(manifest),
        "search_chart": search_chart(manifest) if manifest.search else None,
        "contest": "" if found is None else str(found),
        "decimals": contest_decimals(manifest),
        "seeds": max((len(entry.metrics) for entry in manifest.contest), default=0),
        "front": rows,
        "here": HERE,
        "front_chart": front_chart(manifest),
        "front_decimals": front_decimals(rows),
        "dominated": dominated(rows),
    }


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
    before = before_of(manifest)
    mark = "" if is_measured(manifest) else "\N{ALMOST EQUAL TO} "
    conversions, count = conversions_us(manifest), len(manifest.conversions)
    return {
        "measured": is_measured(manifest),
        "kind": provenance_of(manifest),
        "sites": [_site_data(site, mark, before) for site in manifest.sites],
        "bars": [_site_data(site, mark, before) for site in slowest(manifest.sites, MAX_BARS)],
        "conversions": _number(conversions) if count else None,
        "conversions_hover": typeset(f"{count} conversions<br>after {mark}{format_us(conversions)}"),
        "rounds": telling_rounds(manifest),
        "goal": manifest.budget.value if manifest.budget.kind == "speedup" else None,
        "before": before,
        "training": [
            [{"epoch": record.epoch, "loss": record.loss, "metric": record.metric} for record in step]
            for step in training_steps(manifest)
        ],
    }


def _site_data(site: SiteReport, mark: str, before: str) -> dict[str, Any]:
    times = (("before", site.baseline_latency_us), ("after", site.latency_us), ("predicted", site.predicted_latency_us))
    names = {"before": before}
    lines = [f"<b>{escape(site.name)}</b>", escape(f"{site.op}, {site.choice}")]
    lines += [typeset(f"{names.get(name, name)} {mark}{format_us(us)}") for name, us in times]
    return {
        "label": escape(shortened(site.name, LABEL_LENGTH, "\N{HORIZONTAL ELLIPSIS}")),
        "choice": escape(site.choice),
        "colour": _colour(site.choice),
        "hover": "<br>".join([*lines, f"sensitivity {_scientific(site.sensitivity)}"]),
        "sensitivity": _number(site.sensitivity),
        **{name: _number(us) for name, us in times},
    }
