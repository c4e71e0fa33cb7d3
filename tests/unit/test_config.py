"""Budgets as people write them."""

import pytest
from pydantic import ValidationError

from hwcomp.config import CompileConfig, Fastest, Latency, Shrinking, Speedup
from hwcomp.errors import InputError
from hwcomp.sparse_options import asked_sparse


@pytest.mark.parametrize(
    ("text", "us"),
    [("4ms", 4000), ("350us", 350), ("350µs", 350), ("0.2s", 200_000), ("0.2 s", 200_000), (" 4 ms ", 4000),
     ("1e3us", 1000), (".5ms", 500), ("+2ms", 2000), ("1E-3s", 1000)],
)  # fmt: skip
def test_latencies(text: str, us: float) -> None:
    budget = Latency(text, max_drop=0.5)
    assert budget.kind == "latency"
    assert budget.value == pytest.approx(us)
    assert budget.max_drop == 0.5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("4", "has no unit; write 4ms or 4us"), (" 7.5 ", "write 7.5ms or 7.5us"), ("", "not a number with a unit"),
     ("ms", "not a number"), ("fast", "not a number with a unit"), ("4 minutes", "not a number with a unit"),
     ("4msec", "not a number with a unit"), ("0ms", "greater than zero"), ("-4ms", "greater than zero"),
     ("1e999s", "greater than zero"), ("nanms", "not a number"), ("4,5ms", "not a number with a unit"),
     ("1.2.3ms", "is not a number"), ("4ms 5ms", "not a number with a unit")],
)  # fmt: skip
def test_latencies_that_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        Latency(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize(("text", "times"), [("2x", 2), ("1.5", 1.5), (" 3x ", 3), (2, 2), (1.25, 1.25), ("1e1x", 10)])
def test_speedups(text: str | float, times: float) -> None:
    budget = Speedup(text)
    assert (budget.kind, budget.value, budget.max_drop) == ("speedup", times, None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("fast", "is not a number"), ("", "is not a number"), ("x", "is not a number"), ("2ms", "is not a number"),
     ("0x", "greater than zero"), (-2, "greater than zero"), ("nan", "greater than zero"), ("inf", "greater than zero"),
     ("2xx", "is not a number")],
)  # fmt: skip
def test_speedups_that_are_refused(text: str | float, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        Speedup(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize("drop", [-0.1, float("nan"), float("inf")])
def test_a_drop_is_zero_or_more(drop: float) -> None:
    for make in (lambda: Latency("4ms", drop), lambda: Speedup(2, drop), lambda: Fastest(drop)):
        with pytest.raises(InputError, match="drop"):
            make()


def test_budgets_read_as_they_are_written() -> None:
    assert str(Latency("350us")) == "0.35 ms"
    assert str(Speedup("2x", 1)) == "2x within 1 points"
    assert str(Fastest(0.5)) == "as fast as possible within 0.5 points"
    assert Fastest().max_drop == 1.0


@pytest.mark.parametrize("wrong", [{"calibration": 0}, {"threads": 0}, {"ranges": "best"}, {"taget": "arm"}])
def test_options_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        CompileConfig(**wrong)


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("post_training", {"rate": 0.5}, "^--prune-rate is for methods that train the network; give --method too"),
        ("post_training", {"epochs": 3}, "^--epochs is for methods that train the network"),
        ("latency_pruning", {"rate": 0.5}, "^latency_pruning finds the widths itself"),
        ("latency_pruning", {"recovery": 0.1}, "^--recovery is for soft_filter_pruning and asymptotic"),
        ("uniform_pruning", {"rate": 0.5, "paper": True}, "^--paper is for soft_filter_pruning and asymptotic"),
        ("uniform_pruning", {"rate": 0.5, "from_scratch": True}, "^--from-scratch is for soft_filter_pruning and"),
        ("soft_filter_pruning", {"rate": 0.5, "steps": 2}, r"^--steps is for latency_pruning\.$"),
        ("post_training", {"density": 0.1}, "^--density is for methods that train the network; give --method too"),
        ("uniform_pruning", {"rate": 0.5, "density": 0.1}, r"^--density is for score_pruning and magnitude_pruning\.$"),
        ("differentiable", {"pattern": "8x1"}, r"^--pattern is for score_pruning and magnitude_pruning\.$"),
        (
            "score_pruning",
            {"density": 0.1, "rate": 0.5},
            "^--prune-rate is for uniform_pruning, soft_filter_pruning and",
        ),
        ("score_pruning", {"density": 0.1, "importance": "l1"}, "^--importance is for uniform_pruning, soft_filter"),
        ("magnitude_pruning", {"density": 0.1, "steps": 2}, r"^--steps is for latency_pruning\.$"),
        ("magnitude_pruning", {"density": 0.1, "from_scratch": True}, "^--from-scratch is for soft_filter_pruning"),
        (
            "magnitude_pruning",
            {},
            "^magnitude_pruning keeps the share of the weights that you give, no latency decides",
        ),
        ("magnitude_pruning", {"pattern": "8x1"}, "^magnitude_pruning keeps .*; give --density, above 0 and at most 1"),
        ("score_pruning", {"density": 0.1, "pattern": "2of4"}, "^The pattern 2of4 keeps 0.5 .*; leave --density out"),
        *(
            (
                "score_pruning",
                {"density": 0.1, "pattern": pattern},
                f"^There is no pattern '{pattern}' of sparse weights",
            )
            for pattern in (
                "",
                "x",
                "4",
                "4x",
                "0x1",
                "4x1x1",
                "-4x1",
                "5of4",
                "0of4",
                "4 x 1",
                "4X1",
                "1xN",
                "99999x1",
            )
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_options_that_a_method_does_not_take_are_refused(
    method: str, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        CompileConfig(method=method, shrinking=Shrinking(**options))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("post_training", {"rate": None, "steps": 1}),
        ("latency_pruning", {"steps": 3, "epochs": 5, "importance": "l1"}),
        ("uniform_pruning", {"rate": 0.5, "learning_rate": 0.1, "minutes": 2.0}),
        ("asymptotic_soft_filter_pruning", {"rate": 0.5, "paper": True, "from_scratch": True, "recovery": 0.0}),
        ("magnitude_pruning", {"density": 1, "pattern": "16x1", "minutes": 2.0, "precision": "bf16"}),
        ("score_pruning", {"pattern": "2of4", "clip": 1.0, "learning_rate": 0.1}),
    ],
    ids=["post_training", "latency", "uniform", "asymptotic", "magnitude", "scores"],
)
def test_options_that_a_method_takes_are_taken(method: str, options: dict[str, object]) -> None:
    assert CompileConfig(method=method, shrinking=Shrinking(**options)).method == method


@pytest.mark.parametrize("density", ["0", "1.5", "-1", "nan", "inf", "abc", ""])
def test_densities_that_cannot_be_are_refused(density: str) -> None:
    with pytest.raises(ValidationError, match="density"):
        Shrinking(density=density)


@pytest.mark.parametrize(
    ("pattern", "density", "name"),
    [
        ("4x1", 0.1, "sparse4x1:0.1"),
        ("1x1", 0.05, "sparse:0.05"),
        ("16x1", 1, "sparse16x1:1"),
        ("1x4", 0.25, "sparse1x4:0.25"),
        ("2of4", None, "sparse2of4"),
        ("2of4", 0.5, "sparse2of4"),
    ],
)
def test_patterns_read_as_schemes(pattern: str, density: float | None, name: str) -> None:
    assert str(asked_sparse("", pattern, density)) == name
