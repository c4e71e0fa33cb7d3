"""What a person reads of a search, and of the contest with its controls."""

import re
from typing import Any

import pytest
from manifests import (
    along,
    entry,
    figure,
    flat,
    page_without_plotly,
    printed,
    searched,
    shrunk,
    site,
    table,
    told,
)

from hwcomp.manifest import EntryReport, Manifest
from hwcomp.report_charts import search_chart
from hwcomp.report_facts import is_shrunk, training_steps
from hwcomp.report_html import render_html
from hwcomp.search_facts import verdict


def contest(*entries: EntryReport, **changes: Any) -> Manifest:
    """Return the manifest of a search with a contest."""
    return searched(contest=entries, **changes)


def test_method_reads_as_words() -> None:
    """It removes channels, so layers are those of the smaller network."""
    built = searched()
    assert is_shrunk(built)
    assert told(built, "Method") == "differentiable search of precision and widths"
    assert "in float: the smaller network with every layer in float" in printed(built)


def test_search_tells_where_it_ended() -> None:
    """Expected latency against the budget, and how decided it is."""
    ended = "expected 105 us after 4 epochs, 1.0 % above the budget of 104 us"
    assert told(searched(), "Search") == f"{ended} (multiplier 0.8, entropy 0.25, loss 0.5)"
    assert "after 1 epoch, 1.0 %" in told(searched(1), "Search")


@pytest.mark.parametrize(
    ("budget_us", "words"),
    [
        (120.0, "12.5 % below the budget of 120 us"),
        (105.04, "at the budget of 105 us"),
        (52.0, "102.0 % above the budget of 52.0 us"),
    ],
)
def test_search_is_compared_with_its_own_budget(budget_us: float, words: str) -> None:
    """Also in the report of a network along a front, whose own budget is an easier one."""
    built = searched(budget_us=budget_us, budget={"max_drop": None, "met": True, "kind": "speedup", "value": 1.2})
    assert words in told(built, "Search")
    assert "of budget" in printed(built)
    lines = [line.get("class") for line in figure(render_html(built), "search").iter("line")]
    assert lines.count("limit") == 2  # in the figure, and in its key


def test_every_epoch_is_a_row() -> None:
    """In the terminal and on the page: latency, share of the budget, multiplier, entropy, loss."""
    built = searched()
    rows = re.findall(r"│ +(\d+) │ +(.*? us) │ +(\d+ %) │ +(\S+) │ +(\S+) │ +(\S+) │", printed(built))
    assert rows[0] == ("1", "200 us", "192 %", "0.2", "1.00", "2")
    assert rows[-1] == ("4", "105 us", "101 %", "0.8", "0.25", "0.5")
    cells = [[cell.replace("\u00a0\u00b5s", " us") for cell in row] for row in table(render_html(built), "search")]
    assert cells == [list(row) for row in rows]


def test_terms_without_a_multiplier_have_no_column_of_it() -> None:
    """Its place in the records is 0."""
    records = [record.model_copy(update={"multiplier": 0.0}) for record in searched().search]
    built = searched(search=records)
    page = re.sub(r"<style>.*?</style>", "", page_without_plotly(render_html(built)))
    assert "multiplier" not in printed(built) + page
    assert {len(row) for row in table(page, "search")} == {5}
    assert "multiplier" in printed(searched())


def test_many_epochs_are_cut_to_some_in_between() -> None:
    """With the first and the last; all on demand and on the page."""
    built = searched(100)
    epochs = [int(epoch) for epoch in re.findall(r"│ +(\d+) │ .*? %", printed(built).split("Search")[1])]
    assert (len(epochs), epochs[0], epochs[-1]) == (12, 1, 100)
    assert "... and 88 more epochs (all of them in report.html)" in printed(built)
    assert "more epochs" not in printed(built, all_sites=True)
    assert len(table(render_html(built), "search")) == 100


@pytest.mark.parametrize("epochs", [1, 2, 40, 41, 300])
def test_search_is_drawn(epochs: int) -> None:
    """Within its axes, the budget too; a dot for each epoch as long as they can be told apart."""
    chart = search_chart(searched(epochs))
    assert len(chart.dots) == epochs
    assert all(chart.x.start <= dot.x <= chart.x.end for dot in chart.dots)
    assert chart.budget is not None
    assert all(chart.y.end <= place <= chart.y.start for place in (chart.budget, *(dot.y for dot in chart.dots)))
    assert 2 <= len(chart.y.ticks) <= 8
    assert all("." not in text for _, text in chart.x.ticks)
    assert len({text for _, text in chart.y.ticks}) == len(chart.y.ticks)
    drawn = figure(render_html(searched(epochs)), "search")
    assert len(list(drawn.iter("circle"))) == (epochs if epochs <= 40 else 0)


def test_figures_say_in_words_what_they_show() -> None:
    """For those who cannot see them."""
    page = render_html(searched(front=along(2)))
    ended = "to 105\u00a0\u00b5s in epoch 4; the budget is 104\u00a0\u00b5s."
    for name, words in (("search", ended), ("front", "front/2: ")):
        drawn = figure(page, name)
        assert drawn.get("role") == "img"
        named = {child.get("id"): child.text or "" for child in drawn}
        assert words in "".join(named[key] for key in (drawn.get("aria-labelledby") or "").split())


def test_search_and_recovery_are_told_apart() -> None:
    """In the sentence and in the figure; without recovery there is nothing to tell."""
    built = searched(4, recovery=3)
    assert told(built, "Training").startswith("7 epochs (4 of search, 3 of recovery) in 2 min")
    assert [len(step) for step in training_steps(built)] == [4, 3]
    assert "The dotted line stands where the search ended and channels were removed." in render_html(built)
    assert told(searched(4), "Training").startswith("4 epochs in 80 s")


VERDICTS = {
    "won": (
        [entry("searched", 90.0, 90.2, 90.4), entry("homogeneous", 89.0, 89.1, 89.2), entry("random 1", 85, 85, 85)],
        "The search won by 1.10 points over 'homogeneous': 5.5 times the standard deviation over 3 seeds, 0.20.",
    ),
    "not clearly": (
        [entry("searched", 90.0, 90.2), entry("random", 89.9, 90.1)],
        "The search came first by 0.10 points over 'random': not more than the standard deviation over 2 seeds, 0.14.",
    ),
    "lost": (
        [entry("searched", 88.0, 88.1), entry("homogeneous", 89.0, 89.1), entry("random 1", 87.0, 87.0)],
        "The search lost to 'homogeneous' by 1.00 points: 14.1 times the standard deviation over 2 seeds, 0.07.",
    ),
    "lost, not clearly": (
        [entry("searched", 88.0, 90.0), entry("random", 88.2, 90.2)],
        "'random' came first by 0.20 points over the search: not more than the standard deviation over 2 seeds, 1.41.",
    ),
    "tie": (
        [entry("searched", 88.0, 90.0, chosen=True), entry("random 1", 90.0, 88.0)],
        "The search and 'random 1' are equal: 'searched' is taken.",
    ),
    "faster": (
        [entry("searched", 88.0, 90.0), entry("even", 88.7, 88.9, chosen=True)],
        (
            "The search came first by 0.20 points over 'even': not more than the standard deviation over 2 seeds, "
            "1.41; 'even' is taken, as good within the spread and faster."
        ),
    ),
    "one seed": (
        [entry("searched", 88.0), entry("random 1", 87.0)],
        "The search came first by 1.00 points over 'random 1': one seed: the spread over seeds is not known.",
    ),
    "no spread": (
        [entry("searched", 88.0, 88.0), entry("random 1", 87.0, 87.0)],
        "The search won by 1.00 points over 'random 1': more than the standard deviation over 2 seeds, 0.00.",
    ),
    "shares": (
        [entry("searched", 0.912, 0.914), entry("random 1", 0.902, 0.904)],
        "The search won by 0.0100 points over 'random 1': 7.1 times the standard deviation over 2 seeds, 0.0014.",
    ),
    "no labels": (
        [entry("searched", chosen=True), entry("homogeneous")],
        "Not decided: without labels there is no metric to compare by; what the search found is taken.",
    ),
    "nothing found": (
        [entry("homogeneous", 88.0, chosen=True), entry("random 1", 87.0)],
        "The search has nothing within the budget: 'homogeneous' is taken.",
    ),
    "no controls": ([entry("searched", 88.0, 88.2, chosen=True)], "No control was measured within the budget."),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_contest_is_judged_by_the_spread(case: str) -> None:
    """One sentence, the same in the terminal and on the page; a difference within the spread is called so."""
    entries, sentence = VERDICTS[case]
    built = contest(*entries)
    assert str(verdict(built)) == sentence
    assert sentence in " ".join(printed(built).split()), "however it is wrapped"
    assert sentence.replace("'", "&#39;") in render_html(built)
    line = told(built, "Contest")
    assert line.replace(" (", ": ").replace(")", "").lower() == sentence.rstrip(".").lower()


@pytest.mark.parametrize("entries", [[], [entry("searched", 88.0, chosen=True)], [entry("searched", chosen=True)]])
def test_search_alone_is_no_contest(entries: list[EntryReport]) -> None:
    """Nothing is claimed where nothing was compared."""
    built = contest(*entries)
    assert verdict(built) is None
    assert "Contest" not in printed(built) + page_without_plotly(render_html(built))


def test_contest_shows_mean_and_spread_of_each() -> None:
    """And which one was taken; one seed has no spread."""
    built = contest(entry("searched", 88.0, 88.2), entry("homogeneous", 89.0, 89.4, chosen=True))
    text = flat(printed(built))
    assert "searched │ 103 us │ 2.04x │ 88.10 +- 0.14 │ │" in text
    assert "homogeneous │ 103 us │ 2.04x │ 89.20 +- 0.28 │ chosen │" in text
    assert "metric (2 seeds)" in text
    cells = table(render_html(built), "contest")
    assert cells[1] == ["homogeneous", "103\u00a0\u00b5s", "2.04x", "89.20 \u00b1 0.28", "chosen"]
    alone = printed(contest(entry("searched", 88.0), entry("random 1", 87.0)))
    assert "metric (1 seed)" in alone
    assert not re.search(r"(88.00|87.00) \+-", alone)


def test_contest_without_labels_has_no_metrics() -> None:
    """Neither in the terminal nor on the page."""
    built = contest(entry("searched", chosen=True), entry("homogeneous"))
    assert "searched │ 103 us │ 2.04x │ chosen │" in flat(printed(built))
    assert "metric (" not in printed(built) + page_without_plotly(render_html(built))
    assert table(render_html(built), "contest")[1] == ["homogeneous", "103\u00a0\u00b5s", "2.04x", ""]


def test_odd_names_are_only_text() -> None:
    """Of configurations, as those of layers."""
    names = ["<script>alert('x')</script>", "[red]a[/red]", "b\x1b[2Jc"]
    built = contest(entry("searched", 90.0, 90.1), *(entry(name, 91.0 + n, 91.1 + n) for n, name in enumerate(names)))
    assert "[red]a[/red]" in printed(built)
    assert "\x1b" not in printed(built)
    lost = contest(entry("searched", 90.0, 90.1), entry(names[0], 91.0, 91.1))
    for page in map(render_html, (built, lost)):
        assert "<script>alert" not in page
    assert "lost to &#39;&lt;script&gt;alert" in render_html(lost)


@pytest.mark.parametrize("method", ["post_training", "latency_pruning"])
def test_nothing_is_said_of_a_search_where_there_was_none(method: str) -> None:
    """Neither in the terminal nor on the page."""
    built = shrunk(48, method=method)
    text = printed(built) + page_without_plotly(render_html(built))
    assert not re.search(r"Search|Contest|Front|entropy|<svg", text)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_all_parts_keep_to_the_width_of_the_terminal(width: int) -> None:
    """No line is cut off."""
    layer = site("features_12_block_3_conv_depthwise_pointwise", "int8_float_output", reason="int8 would add 3 us")
    entries = [entry("searched", 90.0, 90.1, chosen=True), entry("precision alone", 89.0, 89.1)]
    built = contest(*entries, sites=[layer], front=along(5))
    text = printed(built, width=width)
    lines = text.splitlines()
    assert "would" in text
    assert all(len(line) <= width for line in lines)
    assert all(line.rstrip()[-1] in "│┤" for line in lines if line.startswith(("│", "├")))
