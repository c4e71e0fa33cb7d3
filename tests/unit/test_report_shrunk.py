"""What a person reads of channels that were removed, and of training."""

import re

from manifests import chart_of, manifest, page_without_plotly, printed, shrunk

from hwcomp.manifest import WidthReport
from hwcomp.report_html import render_html


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


def test_odd_names_of_groups_are_only_text() -> None:
    """As those of layers."""
    names = ["<script>alert('x')</script>", "[red]a[/red]", "b\x1b[2Jc"]
    built = shrunk(1, widths=[WidthReport(group=name, kept=1, channels=2) for name in names])
    assert "[red]a[/red]" in printed(built)
    assert "\x1b" not in printed(built)
    page = render_html(built)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
