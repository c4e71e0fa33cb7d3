"""The page in a real browser without network: its figures are drawn and its table sorts."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from manifests import along, entry, searched

from hwcomp.manifest import Manifest, Provenance, TrainingReport
from hwcomp.report_html import render_html

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000",
    "--enable-logging=stderr",
)  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to see the page in")

ODD = "<script>alert('x')</script>"


def manifest(provenance: Provenance = "measured") -> Manifest:
    """Return a network of four layers, one with a name that is markup, one without any sensitivity."""
    measured = provenance == "measured"
    rows = [
        (ODD, "float", 9.0, 9.1),
        ("conv1", "int8", 1200.0, 500.0),
        ("conv2", "int8", 30.0, 11.0),
        ("fc", "int8", 2, 1),
    ]
    sites = [
        {"name": name, "op": "conv2d", "choice": choice, "reason": "", "baseline_latency_us": before,
         "latency_us": after, "predicted_latency_us": after * 1.05, "sensitivity": 0.0 if name == "fc" else 1e-4}
        for name, choice, before, after in rows
    ]  # fmt: skip
    before, after = (
        {"latency_us": {"median": us, "p10": us, "p90": us, "runs": 100 if measured else 0, "provenance": provenance},
         "accuracy": None, "size_bytes": size}
        for us, size in ((1241.0, 1_000_000), (521.1, 260_000))
    )  # fmt: skip
    values: dict[str, Any] = {
        "name": "odd", "target": {"name": "board", "description": "a board", "activation": "int8", "threads": 1},
        "runtime": {"name": "onnxruntime", "version": "1.31.1"}, "method": "post_training", "seed": 0,
        "budget": {"kind": "speedup", "value": 2.0, "max_drop": None, "met": True},
        "baseline": before, "compiled": after | {"predicted_latency_us": 520.0, "output_distance": 0.01},
        "speedup": 2.38, "speedup_rounds": [2.3, 2.4, 2.45] if measured else [],
        "reach": {"float_us": 1241.0, "fastest_us": 500.0, "table_error": 0.04, "provenance": provenance},
        "sites": sites, "conversions": [{"tensor": "conv1", "latency_us": 3.0}], "notes": [], "calibration": "random",
        "assignment": {}, "environment": {}, "files": {},
    }  # fmt: skip
    return Manifest.model_validate(values)


def seen(page: str, folder: Path) -> str:
    """Return the page as it stands in the browser after its scripts ran without an error."""
    path = folder / "report.html"
    path.write_text(page, "utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)


def plots(dom: str) -> dict[str, str]:
    """Return what was drawn, by the figure's name."""
    parts = re.split(r'id="plot-(\w+)"', dom)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_figure_is_drawn(tmp_path: Path) -> None:
    """With bars, points, the box of the rounds, and names as they are."""
    drawn = plots(seen(render_html(manifest()), tmp_path))
    assert list(drawn) == ["layers", "agreement", "rounds", "sensitivity"]
    assert all("main-svg" in part for part in drawn.values())
    assert drawn["layers"].count('class="point"') == 2 * (4 + 1)
    assert "&lt;script&gt;alert" in drawn["layers"]
    assert len(re.findall(r'<path class="point', drawn["agreement"])) == 4
    assert 'class="box"' in drawn["rounds"]
    assert len(re.findall(r'<path class="point', drawn["sensitivity"].split("<table")[0])) == 4


def test_estimates_have_only_the_figures_that_they_can_fill(tmp_path: Path) -> None:
    """And each axis of time says what it shows."""
    drawn = plots(seen(render_html(manifest("analytic")), tmp_path))
    assert list(drawn) == ["layers", "sensitivity"]
    assert all("main-svg" in part and "(analytic estimate)" in part for part in drawn.values())


@pytest.mark.parametrize("metric", [None, 90.0], ids=["loss", "loss and metric"])
def test_training_is_drawn(tmp_path: Path, metric: float | None) -> None:
    """A line for the loss and one for the metric, interrupted where channels were removed."""
    epochs = [(1, 0.9), (2, 0.5), (1, 0.7), (2, 0.4)]
    training = [TrainingReport(epoch=epoch, loss=loss, metric=metric, rate=0.1, seconds=1.0) for epoch, loss in epochs]
    changes = {"method": "latency_pruning", "training": training}
    drawn = plots(seen(render_html(manifest().model_copy(update=changes)), tmp_path))
    assert list(drawn) == ["layers", "training", "agreement", "rounds", "sensitivity"]
    figure = re.split(r'class="legend"', drawn["training"])[0]
    count = 1 if metric is None else 2
    assert figure.count('class="js-line"') == 2 * count
    assert len(re.findall(r'<path class="point', figure)) == 4 * count
    assert "in float" in drawn["layers"]


def test_network_without_sites_raises_no_error(tmp_path: Path) -> None:
    """Empty figures are still figures."""
    empty = manifest().model_copy(update={"sites": [], "conversions": []})
    drawn = plots(seen(render_html(empty), tmp_path))
    assert all("main-svg" in part for part in drawn.values())


def test_table_sorts_by_a_click(tmp_path: Path) -> None:
    """Numbers by value whatever their unit, largest first; text from A; a second click turns the order round."""
    expected = [
        ("before", ["conv1", "conv2", ODD, "fc"]),
        ("before", ["fc", ODD, "conv2", "conv1"]),
        ("site", [ODD, "conv1", "conv2", "fc"]),
        ("saved", ["conv1", "conv2", "fc", ODD]),
        ("#", [ODD, "conv1", "conv2", "fc"]),
    ]
    script = """<script>document.title = JSON.stringify(HEADINGS.map(heading => {
        [...document.querySelectorAll("#layers th button")].find(button => button.textContent === heading).click();
        return [...document.querySelectorAll("#layers tbody .name")].map(cell => cell.textContent);
    }))</script></body>""".replace("HEADINGS", json.dumps([heading for heading, _ in expected]))
    dom = seen(render_html(manifest()).replace("</body>", script), tmp_path)
    title = re.search("<title>(.*?)</title>", dom)
    assert title is not None
    assert json.loads(unescape(title[1])) == [order for _, order in expected]


CLICKS = """<script>
const buttons = [...document.querySelectorAll("button, summary")];
buttons.forEach(button => button.click());
const box = element => element.getBoundingClientRect();
const isInside = (part, whole) =>
  part.left >= whole.left && part.right <= whole.right && part.top >= whole.top && part.bottom <= whole.bottom;
const lost = chart => [...chart.querySelectorAll("text, circle, path, rect, polyline, line")]
  .filter(part => !isInside(box(part), box(chart))).map(part => part.outerHTML);
const isCut = table => table.offsetWidth > table.parentElement.clientWidth;
document.title = JSON.stringify({
  clicked: buttons.length,
  charts: [...document.querySelectorAll(".chart")].map(chart => [chart.id, box(chart).width, lost(chart)]),
  wide: document.documentElement.scrollWidth > innerWidth,
  cut: [...document.querySelectorAll("#search, #contest, #front")].filter(isCut).map(table => table.id),
})</script></body>"""


@pytest.mark.parametrize("count", [1, 7])
def test_search_contest_and_front_are_shown(tmp_path: Path, count: int) -> None:
    """Everything can be clicked; nothing of figures and tables is cut off; the page is no wider than the window."""
    contest = [entry("searched", 90.0, 90.2, chosen=True), entry("precision alone", 89.0, 89.1), entry(ODD, 88.0, 88.1)]
    built = searched(6, recovery=4, contest=contest, front=along(count))
    dom = seen(render_html(built).replace("</body>", CLICKS), tmp_path)
    title = re.search("<title>(.*?)</title>", dom)
    assert title is not None
    found = json.loads(unescape(title[1]))
    assert found["clicked"] >= 12
    assert [name for name, _, _ in found["charts"]] == ["chart-search", "chart-front"]
    assert all(width >= 300 and not lost for _, width, lost in found["charts"]), found["charts"]
    assert not found["wide"]
    assert found["cut"] == []
    assert "main-svg" in plots(dom)["training"]
