"""What a person reads of a front: the networks between the float one and the budget."""

import re

import pytest
from manifests import along, entry, figure, flat, page_without_plotly, point, printed, searched, table, told

from hwcomp.manifest import Provenance
from hwcomp.report_charts import front_chart
from hwcomp.report_html import render_html
from hwcomp.search_facts import dominated, front_rows


@pytest.mark.parametrize("count", [1, 7])
def test_front_is_a_table_and_a_figure(count: int) -> None:
    """The networks with their folders, between the float one and the artifact itself."""
    built = searched(front=along(count))
    text, page = flat(printed(built)), render_html(built)
    assert len(re.findall(r"│ \d │ front/\d │", text)) == count
    assert "│ │ float network │ 1.00x │ 210 us │ 204-216 us │ 91.20 │" in text
    assert "│ │ this artifact │ 2.08x │ 101 us │ 98.0-104 us │ 91.00 │" in text
    cells = table(page, "front")
    assert [row[1] for row in cells] == ["float network", *(f"front/{n + 1}" for n in range(count)), "this artifact"]
    assert cells[-1][2:] == ["2.08x", "101\u00a0\u00b5s", "98.0-104\u00a0\u00b5s", "91.00"]
    marks = [mark.get("class") for mark in figure(page, "front").iter() if "mark" in (mark.get("class") or "")]
    key = 1
    assert (marks.count("mark point"), marks.count("mark float"), marks.count("mark here")) == (count + key, 1 + key, 2)
    folders = "front/1" if count == 1 else f"front/1 to front/{count}"
    speeds = f"from {built.front[0].speedup:.2f}x to 2.08x"
    assert told(built, "Front") == f"{count + 1} networks {speeds} (in {folders}, and here)"


def test_front_is_drawn_to_scale() -> None:
    """Faster is further left, more accurate further up, and the range of latency is around the median."""
    chart = front_chart(searched(front=along(3)))
    assert chart is not None
    baseline, *points, here = chart.marks
    assert [mark.kind for mark in chart.marks] == ["float", "point", "point", "point", "here"]
    assert [mark.label for mark in points] == ["1", "2", "3"]
    assert here.x < points[-1].x < points[0].x < baseline.x
    assert baseline.y < points[0].y < points[-1].y < here.y
    assert all(mark.low < mark.x < mark.high for mark in chart.marks)
    assert all(chart.x.start <= place <= chart.x.end for mark in chart.marks for place in (mark.low, mark.high))
    ticks = {text: place for place, text in chart.x.ticks}
    assert ticks["200"] - ticks["150"] == pytest.approx(ticks["150"] - ticks["100"], abs=0.2)
    assert points[0].x == pytest.approx(chart.x.at(177.5))


def test_front_of_slow_networks_is_drawn_in_milliseconds() -> None:
    """The ticks are in the unit that the axis names."""
    chart = front_chart(searched(front=[point(1, 5000.0, 91.1)]))
    assert chart is not None
    assert chart.x.title == "latency, p10 to p90, ms"
    places = {text: place for place, text in chart.x.ticks}
    assert places["4"] == pytest.approx(chart.x.at(4000.0), abs=0.1)


def test_front_without_accuracy_is_only_a_table() -> None:
    """There is nothing to draw it against."""
    built = searched(front=along(2, labels=False), accuracy=(None, None))
    page = page_without_plotly(render_html(built))
    assert front_chart(built) is None
    assert 'id="chart-front"' not in page
    assert len(table(page, "front")) == 4
    assert "accuracy" not in printed(built).split("Front, measured")[1].split("Speed-up  ")[0]


@pytest.mark.parametrize("provenance", ["analytic", "simulated"])
def test_estimated_front_says_so(provenance: Provenance) -> None:
    """At the table, the figure and every time; an estimate has no spread."""
    entries = [entry("searched"), entry("random 1")]
    built = searched(provenance=provenance, front=along(2, provenance), contest=entries)
    text, page = printed(built), render_html(built)
    assert f"Front, {provenance}: nothing was measured" in text
    assert f"Contest, trained alike; latency {provenance}: nothing was measured" in flat(text.replace("\n", " "))
    assert "p10-p90" not in text
    assert told(built, "Front").startswith("3 networks from 1.24x to 2.08x, estimated")
    assert f"<h2>Front ({provenance} estimate)</h2>" in page
    drawn = figure(page, "front")
    assert not [child for child in drawn.iter() if child.get("class") == "range"]
    assert "latency (estimate),\u00a0\u00b5s" in [child.text for child in drawn.iter()]
    assert all(row[3].startswith("\u2248 ") for row in table(page, "front"))
    assert all(row[1].startswith("\u2248 ") for row in table(page, "contest"))


def test_networks_that_are_no_use_are_named() -> None:
    """Slower and less accurate than another one of the front."""
    built = searched(front=[point(1, 170, 91.1), point(2, 150, 90.5), point(3, 130, 91.05)])
    assert [row.folder for row in dominated(front_rows(built))] == ["front/2"]
    assert "slower and less accurate than another one: front/2\n" in printed(built)
    assert "Slower and less accurate than another one: front/2." in render_html(built)
    assert "less accurate than" not in printed(searched(front=along(3)))
