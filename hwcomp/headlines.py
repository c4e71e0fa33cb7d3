"""What came of a compilation, in words: one line for each result, the most important first."""

import numpy as np

from hwcomp.headline import Headline
from hwcomp.manifest import BudgetReport, Manifest
from hwcomp.report_facts import (
    difference,
    format_bytes,
    format_duration,
    format_spread,
    format_us,
    is_measured,
    is_shrunk,
    metric_decimals,
    narrowed,
    provenance_of,
    telling_rounds,
    training_steps,
)
from hwcomp.search_headlines import contest_headline, front_headline, search_headline
from hwcomp.sparse_headline import densities, sparse_headline

METHODS = {"differentiable": "differentiable search"}
"""Methods whose file names are no names for people."""

NOT_RUN = "it was not run: no device was given"

SAME_SPEED = 0.005
"""Speed-ups this close to 1 are called no speed-up."""


def headlines(manifest: Manifest) -> list[Headline]:
    """Return the results, the most important first; the budget is the last one."""
    shrinking = (
        (_method, search_headline, _channels, _training, contest_headline, front_headline)
        if is_shrunk(manifest)
        else ()
    )
    found = (_speedup, _latency, _accuracy, *shrinking, sparse_headline, _size, _prediction, _budget)
    return [line for headline in found if (line := headline(manifest)) is not None]


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


def _latency(manifest: Manifest) -> Headline:
    before, after = manifest.baseline.latency_us, manifest.compiled.latency_us
    value = f"{format_us(before.median)} -> {format_us(after.median)}"
    if not is_measured(manifest):
        return Headline(label="Latency", value=f"estimated {value}", detail=f"{provenance_of(manifest)}: not measured")
    detail = f"measured, p10-p90 {format_spread(before)} -> {format_spread(after)}, {after.runs} runs"
    return Headline(label="Latency", value=value, detail=detail)


def _accuracy(manifest: Manifest) -> Headline:
    before, after = manifest.baseline.accuracy, manifest.compiled.accuracy
    if before is None or after is None:
        distance = manifest.compiled.output_distance
        if distance is None:
            return Headline(label="Accuracy", value="not known", detail=NOT_RUN)
        return Headline(label="Accuracy", value=f"output distance {distance:.2g}", detail="no eval data")
    decimals = metric_decimals(before, after)
    change = round(after - before, decimals)
    detail = "unchanged" if not change else f"{abs(change):.{decimals}f} points {'higher' if change > 0 else 'lower'}"
    return Headline(label="Accuracy", value=f"{before:.{decimals}f} -> {after:.{decimals}f}", detail=detail)


def _method(manifest: Manifest) -> Headline:
    value = METHODS.get(manifest.method, manifest.method.replace("_", " "))
    searched = "precision, density and widths" if densities(manifest) else "precision and widths"
    return Headline(label="Method", value=value, words=f"of {searched}" if manifest.method in METHODS else "")


def _channels(manifest: Manifest) -> Headline:
    fewer = narrowed(manifest)
    if not fewer:
        return Headline(label="Channels", value="all stay")
    kept, channels = (sum(getattr(width, name) for width in manifest.widths) for name in ("kept", "channels"))
    detail = f"{len(fewer)} of {len(manifest.widths)} groups are narrower"
    return Headline(label="Channels", value=f"{channels} -> {kept}", detail=detail)


def _training(manifest: Manifest) -> Headline | None:
    if not manifest.training:
        return None
    last = manifest.training[-1]
    taken = format_duration(sum(record.seconds for record in manifest.training))
    metric = (
        "" if last.metric is None else f", metric on validation samples {last.metric:.{metric_decimals(last.metric)}f}"
    )
    return Headline(
        label="Training",
        value=f"{len(manifest.training)} epoch{'s' if len(manifest.training) > 1 else ''}",
        words=f"{_phases(manifest)}{taken}",
        detail=f"final loss {last.loss:.3g}{metric}",
    )


def _phases(manifest: Manifest) -> str:
    """Return what the epochs of a training were for, where there are several things."""
    steps, searched = len(training_steps(manifest)), len(manifest.search)
    recovery = len(manifest.training) - searched
    if searched and recovery > 0:
        return f"({searched} of search, {recovery} of recovery) in "
    return f"in {steps} steps, " if steps > 1 else "in "


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


def _budget(manifest: Manifest) -> Headline:
    budget = manifest.budget
    reached = {
        "latency": f"reached {format_us(manifest.compiled.latency_us.median)}",
        "speedup": f"reached {manifest.speedup:.2f}x",
        "fastest": "",
    }[budget.kind]
    is_unknown = budget.max_drop is not None and None in (manifest.baseline.accuracy, manifest.compiled.accuracy)
    reason = NOT_RUN if manifest.compiled.output_distance is None else "no eval data"
    unchecked = f"drop not checked: {reason}" if is_unknown else ""
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
