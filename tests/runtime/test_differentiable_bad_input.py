"""`hwcomp compile --method differentiable` with what cannot be: one sentence, exit code 2, and nothing is trained."""

from pathlib import Path

import pytest
from searching import SOURCE, Command


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests share: what is exported and timed is the same for all of them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def search(tmp_path: Path, kept: Path) -> Command:
    return Command(tmp_path, kept).write(SOURCE)


OPTIONS = {
    "no budget": ((), ["give --latency or --speedup"]),
    "a drop is no latency": (("--max-drop", 1), ["give --latency or --speedup"]),
    "estimator": (("--speedup", "2x", "--estimator", "gumble"), ["'gumble'", "did you mean gumbel"]),
    "estimator file": (("--speedup", "2x", "--estimator", "mine.py:Mine"), ["No file 'mine.py'"]),
    "latency term": (("--speedup", "2x", "--latency-term", "lagrange"), ["'lagrange'", "did you mean lagrangian"]),
    "one point": (("--speedup", "2x", "--pareto", 1), ["--pareto", "found 1"]),
    "no search": (("--speedup", "2x", "--search-share", 0), ["--search-share", "found 0"]),
    "no recovery": (("--speedup", "2x", "--search-share", 1), ["--search-share", "found 1"]),
    "order": (("--speedup", "2x", "--search-order", 3), ["--search-order", "found 3"]),
    "noise": (("--speedup", "2x", "--weight-noise", 1.5), ["--weight-noise", "found 1.5"]),
    "a level": (("--speedup", "2x", "--search-level", "both"), ["--search-level", "found 'both'"]),
    "no step to look through": (
        ("--speedup", "2x", "--search-level", "single", "--search-order", 2),
        ["one of the two"],
    ),
    "no seeds": (("--speedup", "2x", "--controls", "--seeds", 0), ["--seeds", "found 0"]),
    "a rate": (("--speedup", "2x", "--prune-rate", 0.3), ["finds the widths itself", "--prune-rate"]),
    "importance": (("--speedup", "2x", "--importance", "l3"), ["'l3'", "did you mean"]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option(search: Command, case: str) -> None:
    options, words = OPTIONS[case]
    sentence = search.refused(*options)
    for word in words:
        assert word in sentence
    assert not (search.folder / "out").exists()


@pytest.mark.parametrize(
    "option",
    [("--controls",), ("--pareto", 3), ("--estimator", "gumbel"), ("--search-share", 0.3), ("--seeds", 2)],
    ids=lambda option: option[0],
)
def test_options_of_the_search_with_another_method(search: Command, option: tuple[object, ...]) -> None:
    sentence = search.refused("--speedup", "2x", *option, "--method", "latency_pruning")
    assert f"{option[0]} is for --method differentiable" in sentence
    assert search.batches_read == 0


def test_seeds_without_controls(search: Command) -> None:
    """An option that would be passed over in silence is refused."""
    assert "--seeds is for --controls" in search.refused("--speedup", "2x", "--seeds", 2)
    assert search.batches_read == 0


def test_budget_out_of_reach_is_told_before_anything_is_trained(search: Command) -> None:
    before = search.trainings
    sentence = search.refused("--speedup", "500x", "--epochs", 4)
    assert "out of reach" in sentence
    assert "ms" in sentence
    assert search.trainings == before
    assert search.batches_read <= 12  # for calibration, a first look, and the importance of channels
    assert not (search.folder / "out").exists()


METRIC = "def metric(outputs, targets):\n    raise ValueError('why')\n\n\ndef train_data"
LOSS = METRIC.replace("metric", "loss")
NAN = "yield found[index]", "yield (found[index][0] * float('nan'), found[index][1])"
LATE = "(12, 0))", "(12, 0))\n    found[11][0][:] = float('nan')"
SOURCES = [
    pytest.param("def train_data", "def other_data", ["define train_data()"], id="no data"),
    pytest.param("torch.randperm(12)", "()", ["train_data", "give at least one batch"], id="empty"),
    pytest.param(*NAN, ["train_data holds NaN", "clean it"], id="NaN"),
    pytest.param(*LATE, ["NaN"], id="NaN in one batch"),
    pytest.param("randint(0, 2,", "randint(5, 7,", ["loss failed", "out of bounds"], id="labels"),
    pytest.param("def train_data", LOSS, ["loss failed", "why"], id="loss"),
    pytest.param("def train_data", METRIC, ["metric", "why"], id="metric"),
]


@pytest.mark.parametrize(("before", "after", "words"), SOURCES)
def test_data(search: Command, before: str, after: str, words: list[str]) -> None:
    assert before in SOURCE
    search.write(SOURCE.replace(before, after))
    sentence = search.refused("--speedup", "2.5x", "--epochs", 2)
    for word in words:
        assert word in sentence
    assert not (search.folder / "out").exists()


@pytest.mark.slow
def test_a_constant_metric_decides_nothing(search: Command) -> None:
    metric = "def metric(outputs, targets):\n    return 50.0\n\n\ndef train_data"
    search.write(SOURCE.replace("def train_data", metric))
    manifest = search.compile("--speedup", "2.5x", "--epochs", 2, "--controls", "--seeds", 1)
    (chosen,) = (entry["name"] for entry in manifest["contest"] if entry["chosen"])
    assert chosen == "searched"
    assert manifest["compiled"]["accuracy"] == 50
