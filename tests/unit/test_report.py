"""What a person reads in the terminal and on the page, and that the page needs nothing but itself."""

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from hwcomp.headlines import headlines
from hwcomp.manifest import (
    BudgetReport,
    ConversionReport,
    Manifest,
    Provenance,
    SiteReport,
    TrainingReport,
    WidthReport,
)
from hwcomp.report import format_bytes, format_us, render_terminal, write_html
from hwcomp.report_facts import difference, format_duration
from hwcomp.report_html import render_html


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


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0 us"), (0.456, "0.46 us"), (9.123, "9.12 us"), (12.34, "12.3 us"), (123.4, "123 us"),
        (999.4, "999 us"), (999.7, "1.00 ms"), (9996, "10.0 ms"), (123456, "123 ms"), (2.5e6, "2.50 s"),
        (-3.21, "-3.21 us"), (math.nan, "n/a"), (math.inf, "n/a"),
    ],
)  # fmt: skip
def test_times_adapt_their_unit(us: float, text: str) -> None:
    """Three digits, never 1000 of a unit."""
    assert format_us(us) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1100, "1.10 kB"), (999_900, "1.00 MB"), (44_700_000, "44.7 MB"), (3 * 10**9, "3.00 GB")],
)
def test_sizes_adapt_their_unit(n: int, text: str) -> None:
    """Decimal units."""
    assert format_bytes(n) == text


def test_difference_is_relative_to_what_was_measured() -> None:
    """Too high is positive; without a measurement there is none."""
    assert difference(110, 100) == "+10.0 %"
    assert difference(1, 0) == "n/a"


def test_terminal_tells_the_measured_result() -> None:
    """Every result with what it rests on."""
    text = printed(manifest())
    assert "2.08x faster than float, measured (p10-p90 of rounds 2." in text
    assert "210 us -> 101 us (measured, p10-p90 204-216 us -> 98.0-104 us, 400 runs)" in text
    assert "91.20 -> 91.00 (0.20 points lower)" in text
    assert "1.10 MB -> 304 kB (3.6x smaller)" in text
    assert "104 us +- 5 % (measured 101 us, prediction off by +3.0 %)" in text
    assert "met (at least 2x, at most 1 points lost; reached 2.08x)" in text
    assert re.search(r"conversions .* 7.20 us", text)
    assert "int8 would add 3 us, conversions included" in text


def test_terminal_says_that_an_estimate_is_one() -> None:
    """No number of it can be taken for a measured one."""
    text = printed(manifest("analytic", speedup=1.93))
    assert "estimated 1.9x (analytic: no such device was measured)" in text
    assert "estimated 210 us -> 101 us (analytic: not measured)" in text
    assert "met by the estimate" in text
    assert "Latency per site, analytic: nothing was measured" in text


def test_comparison_is_worth_its_weaker_side() -> None:
    """A measured float network beside a simulated one gives an estimate."""
    text = printed(manifest("simulated", baseline="measured"))
    assert "estimated 2.1x (simulated: no such device was measured)" in text


def test_slower_and_equal_are_called_so() -> None:
    """A speed-up below 1 is no speed-up; a float network against itself has no rounds to show."""
    assert "0.92x the speed of float, measured" in printed(manifest(speedup=0.92))
    same = manifest(speedup=1.0, speedup_rounds=[1.0] * 12)
    assert re.search(r"1.00x the speed of float, measured\s*\n", printed(same))
    assert chart_of(render_html(same))["rounds"] == []


def test_accuracy_without_data_is_the_output_distance() -> None:
    """And the drop that was allowed is said to be unchecked."""
    text = printed(manifest(accuracy=(None, None)))
    assert "output distance 0.031 (no eval data)" in text
    assert "drop not checked: no eval data" in text


def test_metrics_that_are_shares_keep_their_digits() -> None:
    """0.9120 -> 0.9101 is not rounded away."""
    assert "0.9120 -> 0.9101 (0.0019 points lower)" in printed(manifest(accuracy=(0.912, 0.9101)))


@pytest.mark.parametrize(
    ("kind", "value", "asked", "reached"),
    [
        ("latency", 90.0, "at most 90.0 us", "reached 101 us"),
        ("speedup", 3.0, "at least 3x", "reached 2.08x"),
        ("fastest", 0.0, "as fast as possible", ""),
    ],
)
def test_missed_budget_is_shown(kind: str, value: float, asked: str, reached: str) -> None:
    """With what was asked and what was reached, in the terminal and on the page."""
    built = manifest(budget={"kind": kind, "value": value, "max_drop": 0.1, "met": False})
    assert f"MISSED ({asked}, at most 0.1 points lost" in printed(built)
    assert reached in printed(built)
    page = render_html(built)
    assert '<div class="value bad">MISSED</div>' in page
    assert asked.replace(" us", "\u00a0\u00b5s") in page


def test_many_sites_are_cut_to_the_slowest() -> None:
    """25 of them, in execution order; all on demand."""
    built = manifest(sites=[site(f"conv_{index}", before=float(index % 7)) for index in range(60)])
    text = printed(built)
    assert "... and 35 more sites (all of them in report.html)" in text
    shown = re.findall(r"conv_(\d+)", text)
    assert len(shown) == 25
    assert shown == sorted(shown, key=int)
    assert "6" in shown
    assert "0" not in shown
    assert len(re.findall(r"conv_\d+", printed(built, all_sites=True))) == 60


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_terminal_keeps_to_its_width(width: int) -> None:
    """Long reasons are folded, not cut off; long names are shortened in the middle."""
    reason = "int8 would save 3 us but move the outputs by 0.120"
    text = printed(manifest(sites=[site("features_12_block_3_conv_depthwise_pointwise", reason=reason)]), width=width)
    assert all(len(line) <= width for line in text.splitlines())
    assert all(word in text for word in ("0.120", "would"))
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert re.search(r"│ featu\w*\.\.\.\w*ntwise +│", text)


def test_odd_names_are_only_text() -> None:
    """Neither markup of the terminal, nor its control sequences, nor HTML."""
    sites = [
        site("<script>alert('x')</script>", reason="<img src=x onerror=alert(1)>"),
        site("[red]a[/red]"),
        site("b\x1b[2Jc"),
    ]
    built = manifest(sites=sites, name="a & <b>", notes=["</script><script>alert(2)</script>"])
    assert "[red]a[/red]" in printed(built)
    assert "\x1b" not in printed(built)
    page = render_html(built)
    assert "<script>alert" not in page
    assert "<img" not in page_without_plotly(page)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "<title>a &amp; &lt;b&gt; on x86_64" in page
    assert chart_of(page)["sites"][0]["hover"].startswith("<b>&lt;script&gt;")


def test_terminal_tells_what_was_removed_and_trained() -> None:
    """The method, groups that lost channels, how many did not, and how training ended."""
    text = printed(shrunk(48, 64, 20, 64, 64, epochs=(3, 2)))
    assert re.search(r"Method +latency pruning", text)
    assert re.search(r"Channels +320 -> 260 \(2 of 5 groups are narrower\)", text)
    told = r"Training +5 epochs in 2 steps, 2 min \(final loss 1.25, metric on validation samples 89.12\)"
    assert re.search(told, text)
    rows = re.findall(r"│ (stage_\d) │ +(\d+) │ (\d+) │ +(\d+) % │", text)
    assert rows == [("stage_0", "48", "64", "75"), ("stage_2", "20", "64", "31")]
    assert "3 more groups keep all of their channels" in text
    assert "in float: the smaller network with every layer in float" in text


def test_page_tells_what_was_removed_and_trained() -> None:
    """The same; epochs of different steps are kept apart in the figure."""
    page = page_without_plotly(render_html(shrunk(48, 64, 20, epochs=(3, 2))))
    rows = re.search(r'<table id="channels">(.*?)</table>', page, re.DOTALL)
    assert rows is not None
    assert re.findall(r"stage_<wbr>(\d)", rows[1]) == ["0", "2"]
    assert "2 of 3 groups are narrower; 1 keep all of their channels." in page
    assert "latency pruning" in page
    assert "In float: the smaller network" in page
    steps = chart_of(page)["training"]
    assert [[epoch["epoch"] for epoch in step] for step in steps] == [[1, 2, 3], [1, 2]]
    assert chart_of(page)["bars"][0]["hover"].split("<br>")[2].startswith("in float ")


def test_nothing_is_said_of_channels_where_the_method_leaves_them_alone() -> None:
    """Neither in the terminal nor on the page."""
    page = page_without_plotly(render_html(manifest()))
    for text in (printed(manifest()), page):
        assert not re.search(r"Channels|Training|post training|smaller network", text)
    assert 'id="plot-training"' not in page
    assert re.search(r"site .* before .* after", printed(manifest()))


def test_pruning_that_removed_nothing_says_so() -> None:
    """A budget that precision alone met, and metrics that nobody could take."""
    text = printed(manifest(method="latency_pruning"))
    assert re.search(r"Channels +all stay", text)
    assert not re.search("Training|Channels that stay", text)
    page = page_without_plotly(render_html(shrunk(64, metric=None, epochs=(1,))))
    assert "1 epoch<" in page
    assert 'id="channels"' not in page
    assert "validation samples" not in page


def test_many_groups_are_cut_to_the_narrowest() -> None:
    """25 of them, in order; all on demand and on the page."""
    built = shrunk(*(16 + index % 40 for index in range(60)))
    shown = [int(number) for number in re.findall(r"stage_(\d+)", printed(built))]
    assert len(shown) == 25
    assert shown == sorted(shown)
    assert {0, 40} <= set(shown)
    assert "... and 35 more groups are narrower (all of them in report.html)" in printed(built)
    assert len(re.findall(r"stage_\d+", printed(built, all_sites=True))) == 60
    assert len(re.findall(r"stage_<wbr>\d+", render_html(built))) == 60


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (99, "99 s"), (101, "2 min"), (7000, "117 min"), (9000, "2.5 h")]
)
def test_durations_adapt_their_unit(seconds: float, text: str) -> None:
    """No digits that nobody reads."""
    assert format_duration(seconds) == text


def test_odd_names_of_groups_are_only_text() -> None:
    """As those of layers."""
    names = ["<script>alert('x')</script>", "[red]a[/red]", "b\x1b[2Jc"]
    built = shrunk(1, widths=[WidthReport(group=name, kept=1, channels=2) for name in names])
    assert "[red]a[/red]" in printed(built)
    assert "\x1b" not in printed(built)
    page = render_html(built)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


@pytest.mark.parametrize("provenance", ["measured", "analytic", "simulated"])
def test_page_needs_nothing_but_itself(provenance: Provenance) -> None:
    """plotly.js is inside, once; nothing is loaded from anywhere."""
    page = render_html(manifest(provenance))
    assert page.count("plotly.js v") == 1
    rest = page_without_plotly(page)
    assert "http" not in rest
    assert not re.search(r"\b(src|href|url|@import)\s*[=(]", rest)


def test_page_shows_the_measured_results() -> None:
    """The headlines of the terminal are its cards; every layer is in the table."""
    built = manifest()
    page = render_html(built)
    assert all(line.label in page for line in headlines(built))
    told = ("faster than float, measured", "210\u00a0\u00b5s \u2192 101\u00a0\u00b5s", "sha256 abab", "of calibration")
    assert all(text in page for text in told)
    assert all(f'<td class="name">{layer.name}</td>' in page.replace("<wbr>", "") for layer in built.sites)
    assert "No latency on this page was measured" not in page
    chart = chart_of(page)
    assert [len(chart[key]) for key in ("bars", "sites", "rounds")] == [22, 22, 12]
    assert chart["goal"] == 2.0


def test_page_of_estimates_says_so_at_each_number() -> None:
    """In the header, and beside every time; no figure that would need a measurement."""
    page = page_without_plotly(render_html(manifest("analytic")))
    assert "analytic estimate, not measured" in page
    assert "No latency on this page was measured" in page
    assert "(measured)" not in page
    assert not re.search('id="plot-(agreement|rounds)"', page)
    times = re.findall(r'<td class="n" data-value="[^"]*">([^<]*\u00a0\u00b5s)', page)
    assert len(times) == 22 * 3 + 4
    assert all(time.startswith("\u2248") for time in times)
    chart = chart_of(page)
    hovers = [chart["conversions_hover"], *(layer["hover"] for layer in chart["sites"])]
    assert all(re.search("after \u2248 .*\u00b5s", hover) for hover in hovers)


def test_bars_are_capped() -> None:
    """The figure shows the slowest 60 and says so; the table has every layer."""
    page = render_html(manifest(sites=layers(75)))
    assert len(chart_of(page)["bars"]) == 60
    assert "Only the 60 layers that are slowest in float; the table below has all 75." in page


def test_numbers_that_are_none_do_not_break_the_page() -> None:
    """NaN and infinity never get into a manifest; zeros are drawn; what is empty stays empty."""
    with pytest.raises(ValidationError, match="finite"):
        site("odd", before=math.nan, after=math.inf, sensitivity=math.nan)
    built = manifest(sites=[site("none", before=0, after=0, sensitivity=0)])
    for text in (page_without_plotly(render_html(built)), printed(built)):
        assert not re.search(r"nan\b|\binf\b", text)
    empty = manifest(sites=[], conversions=[], notes=[], environment={}, files={}, speedup_rounds=[])
    assert "2.08x" in printed(empty)
    assert chart_of(render_html(empty))["sites"] == []


def test_file_is_written_whole(tmp_path: Path) -> None:
    """`write_html` writes what `render_html` gives."""
    write_html(manifest(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == render_html(manifest())
