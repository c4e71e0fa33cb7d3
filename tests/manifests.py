"""Manifests of networks that nobody compiled, and what a report makes of them."""

import json
import random
import re
from typing import Any
from xml.etree import ElementTree as ET

from rich.console import Console

from hwcomp.headlines import headlines
from hwcomp.manifest import (
    BudgetReport,
    ConversionReport,
    EntryReport,
    LatencyUs,
    Manifest,
    PointReport,
    Provenance,
    SearchReport,
    SiteReport,
    TrainingReport,
    WidthReport,
)
from hwcomp.report import render_terminal


def site(name: str, choice: str = "int8", before: float = 12.0, after: float = 5.0, **changes: Any) -> SiteReport:
    """Return a layer; its prediction is 4 % too high."""
    times = {"baseline_latency_us": before, "latency_us": after, "predicted_latency_us": 1.04 * after}
    values = {"name": name, "op": "conv2d", "choice": choice, "reason": "", "sensitivity": 2.5e-4, **times}
    return SiteReport.model_validate(values | changes)


def layers(count: int) -> list[SiteReport]:
    """Return layers like those of a residual network: most in int8, one in float for a reason."""
    draw = random.Random(0)
    built = [site("stem_conv", "float", 9.1, 9.2, reason="int8 would add 3 us, conversions included")]
    for index in range(1, count - 1):
        before, error, sensitivity = draw.uniform(4, 20), draw.gauss(1, 0.05), 10 ** draw.uniform(-6, -3)
        after = before * draw.uniform(0.3, 0.6)
        changes = {"predicted_latency_us": after * error, "sensitivity": sensitivity}
        built.append(site(f"layer{index // 4}_{index % 4}_conv", "int8", before, after, **changes))
    return [*built, site("fc", "weight8", 2.2, 1.4, op="linear", sensitivity=0.0)]


def version(us: float, provenance: Provenance, accuracy: float | None, size_bytes: int) -> dict[str, Any]:
    """Return a network's numbers; the latency of an estimate has no spread."""
    spread, runs = (0.03, 400) if provenance == "measured" else (0.0, 0)
    latency = {"median": us, "p10": us * (1 - spread), "p90": us * (1 + spread), "runs": runs, "provenance": provenance}
    return {"latency_us": latency, "accuracy": accuracy, "size_bytes": size_bytes}


def manifest(
    provenance: Provenance = "measured",
    *,
    baseline: Provenance | None = None,
    accuracy: tuple[float | None, float | None] = (91.2, 91.0),
    **changes: Any,
) -> Manifest:
    """Return a realistic manifest of a network that became 2.08 times faster."""
    draw, rounds = random.Random(1), 12 if provenance == "measured" else 0
    predicted = {"predicted_latency_us": 104.0, "output_distance": 0.031}
    values: dict[str, Any] = {
        "name": "cifar10",
        "target": {"name": "x86_64", "description": "x86-64 server CPU", "activation": "uint8", "threads": 2},
        "runtime": {"name": "onnxruntime", "version": "1.31.1"},
        "method": "post_training",
        "seed": 7,
        "budget": BudgetReport(kind="speedup", value=2.0, max_drop=1.0, met=True),
        "baseline": version(210.0, baseline or provenance, accuracy[0], 1_100_000),
        "compiled": version(101.0, provenance, accuracy[1], 304_000) | predicted,
        "speedup": 2.08,
        "speedup_rounds": [2.08 + draw.gauss(0, 0.04) for _ in range(rounds)],
        "reach": {"float_us": 208.0, "fastest_us": 66.0, "table_error": 0.05, "provenance": provenance},
        "sites": layers(22),
        "conversions": [ConversionReport(tensor=f"layer{i}_add", latency_us=1.5 + 0.2 * i) for i in range(4)],
        "notes": ["gate: opaque, its shape depends on data; left as it is"],
        "calibration": "64 inputs of calibration_data",
        "assignment": {"fc": "weight8"},
        "environment": {"python": "3.11.9", "torch": "2.13.0", "cpu": "AMD EPYC"},
        "files": {"model.onnx": "ab" * 32},
    }
    return Manifest.model_validate(values | changes)


def shrunk(*kept: int, epochs: tuple[int, ...] = (3,), metric: float | None = 89.125, **changes: Any) -> Manifest:
    """Return the manifest of a network that keeps so many of 64 channels, trained once for each of ``epochs``."""
    widths = [WidthReport(group=f"stage_{index}", kept=count, channels=64) for index, count in enumerate(kept)]
    numbers = [(step, epoch) for step, count in enumerate(epochs) for epoch in range(1, count + 1)]
    training = [
        TrainingReport(epoch=epoch, loss=0.5 / epoch + step, metric=metric, rate=0.01, seconds=25)
        for step, epoch in numbers
    ]
    return manifest(**{"method": "latency_pruning", "widths": widths, "training": training} | changes)


def printed(built: Manifest, *, width: int = 160, all_sites: bool = False) -> str:
    """Return the terminal report as text."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(render_terminal(built, all_sites=all_sites))
    return capture.get()


def page_without_plotly(html: str) -> str:
    """Return the page without the library that is embedded in it."""
    scripts = re.findall(r"<script>.*?</script>", html, flags=re.DOTALL)
    return html.replace(max(scripts, key=len), "")


def chart_of(html: str) -> dict[str, Any]:
    """Return what the page's script draws; NaN and infinity are not JSON and fail here."""
    found = re.search(r'<script id="chart" type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    assert found is not None
    assert not re.search(r"\b(NaN|Infinity)\b", found[1])
    chart: dict[str, Any] = json.loads(found[1])
    return chart


def entry(name: str, *metrics: float, chosen: bool = False) -> EntryReport:
    """Return a configuration of a contest."""
    return EntryReport(name=name, latency_us=103.0, speedup=2.04, metrics=list(metrics), chosen=chosen)


def point(number: int, us: float, accuracy: float | None, provenance: Provenance = "measured") -> PointReport:
    """Return a network of a front, whose float one takes 210 us."""
    latency = LatencyUs.model_validate(version(us, provenance, accuracy, 1)["latency_us"])
    return PointReport(number=number, latency_us=latency, speedup=210 / us, accuracy=accuracy)


def searched(epochs: int = 4, *, recovery: int = 0, budget_us: float = 104.0, **changes: Any) -> Manifest:
    """Return the manifest of a search that ends at 105.04 us, and of the training after it."""
    search = [
        SearchReport(
            epoch=epoch, expected_us=105.04 * (1 + 0.3 * (epochs - epoch)), budget_us=budget_us, multiplier=0.2 * epoch,
            entropy=1 / epoch, loss=2 / epoch,
        )
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip
    training = [
        TrainingReport(epoch=epoch, loss=1 / epoch, metric=90.0 if epoch > epochs else None, rate=0.01, seconds=20)
        for epoch in range(1, epochs + recovery + 1)
    ]
    return shrunk(48, 20, **{"method": "differentiable", "search": search, "training": training} | changes)


def along(count: int, provenance: Provenance = "measured", *, labels: bool = True) -> list[PointReport]:
    """Return the networks of a front but its fastest: each is faster and less accurate than the one before."""
    return [
        point(number, 200 - 90 * number / (count + 1), 91.2 - 0.01 * number if labels else None, provenance)
        for number in range(1, count + 1)
    ]


def told(built: Manifest, label: str) -> str:
    """Return the result of a label."""
    return next(line.text for line in headlines(built) if line.label == label)


def figure(page: str, name: str) -> ET.Element:
    """Return a figure of the page; it must be well-formed."""
    found = re.search(rf'<svg class="chart" id="chart-{name}".*?</svg>', page, re.DOTALL)
    assert found is not None
    return ET.fromstring(found[0])


def table(page: str, name: str) -> list[list[str]]:
    """Return the cells of a table of the page, without its headings."""
    found = re.search(rf'<table id="{name}">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert found is not None
    rows = re.findall(r"<tr.*?</tr>", found[1], re.DOTALL)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]


def flat(text: str) -> str:
    """Return text with one space where there were several."""
    return re.sub(" +", " ", text)
