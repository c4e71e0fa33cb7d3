"""What a person reads in the terminal and on the page, and that the page needs nothing but itself."""

import math
import re
from pathlib import Path

import pytest
from manifests import chart_of, layers, manifest, page_without_plotly, printed, site
from pydantic import ValidationError

from hwcomp.headlines import headlines
from hwcomp.manifest import Provenance
from hwcomp.report import format_bytes, format_us, write_html
from hwcomp.report_facts import difference, format_duration
from hwcomp.report_html import render_html


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


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (99, "99 s"), (101, "2 min"), (7000, "117 min"), (9000, "2.5 h")]
)
def test_durations_adapt_their_unit(seconds: float, text: str) -> None:
    """No digits that nobody reads."""
    assert format_duration(seconds) == text


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


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ({"a": "int8"}, None),
        ({"a": "sparse4x1:0.11", "b": "int8"}, "1 layer leaves zeros out (11 % of its weights stay)"),
        ({"a": "sparse:0.3", "b": "sparse4x1:0.05"}, "2 layers leave zeros out (5 % to 30 % of their weights stay)"),
    ],
)
def test_layers_that_leave_zeros_out_are_told(assignment: dict[str, str], told: str | None) -> None:
    lines = {line.label: line.text for line in headlines(manifest().model_copy(update={"assignment": assignment}))}
    assert lines.get("Sparse") == told
