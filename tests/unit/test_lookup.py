"""The table that known profiles must give."""

import pytest

from hwcomp.cost_models.lookup import Lookup
from hwcomp.profiling import Profile
from hwcomp.space import Edge, SearchSpace, Site

BOTH = ("float", "int8")
SPACE = SearchSpace(
    sites=(Site(name="a", op="conv2d", candidates=BOTH), Site(name="b", op="conv2d", candidates=BOTH)),
    edges=(
        Edge(tensor="x", elements=100, readers=("a",)),
        Edge(tensor="a", elements=200, readers=("b",)),
        Edge(tensor="b", elements=300, readers=("output",)),
    ),
)


def profile(name: str, a: str, b: str, sites: dict[str, float], tensors: dict[str, float]) -> Profile:
    return Profile(name=name, assignment={"a": a, "b": b}, site_us=sites, tensor_us=tensors)


PROFILES = [
    profile("float", "float", "float", {"a": 10, "b": 20}, {}),
    profile("int8", "int8", "int8", {"a": 4, "b": 6}, {"x": 1, "b": 2}),
    profile("alternating 0", "int8", "float", {"a": 4, "b": 25}, {"x": 1, "a": 3}),
    profile("alternating 1", "float", "int8", {"a": 10, "b": 6}, {"a": 1.5, "b": 2}),
]


def test_sites_are_taken_from_the_pure_networks() -> None:
    table = Lookup(profiles=PROFILES, whole_us={}).cost_table(SPACE, {})
    assert table.site_us["a"] == {"float": 10, "int8": 4}
    assert table.site_us["b"] == {"float": 20, "int8": 8}  # with the conversion of its output, which is always there
    assert table.provenance == "measured"
    assert table.correction == 1.0


def test_conversions_are_taken_from_the_mixed_networks() -> None:
    table = Lookup(profiles=PROFILES, whole_us={}).cost_table(SPACE, {})
    assert table.quantize_us["x"] == pytest.approx(1)
    assert table.quantize_us["a"] == pytest.approx(1.5)
    assert table.dequantize_us["a"] == pytest.approx(3 + 5)  # the float reader took 5 longer than in the float network
    assert table.dequantize_us["b"] == pytest.approx(0)  # counted in the site


def test_what_was_never_converted_lies_on_the_line_through_the_others() -> None:
    table = Lookup(profiles=PROFILES, whole_us={}).cost_table(SPACE, {})
    assert table.quantize_us["b"] == pytest.approx(2.0)  # 0.5 + 0.005 * elements


def test_a_line_that_falls_with_size_is_not_continued() -> None:
    """Times that do not grow with size say nothing of it: no estimate lies above all that was seen."""
    table = Lookup(profiles=PROFILES, whole_us={}).cost_table(SPACE, {})
    assert table.dequantize_us["x"] <= max(table.dequantize_us["a"], table.dequantize_us["b"])


@pytest.mark.parametrize("index", range(len(PROFILES)))
def test_every_profile_is_predicted_as_it_was_measured(index: int) -> None:
    table = Lookup(profiles=PROFILES, whole_us={}).cost_table(SPACE, {})
    one = PROFILES[index]
    assert table.predict_us(one.assignment) == pytest.approx(one.total_us)


def test_kernels_are_scaled_to_whole_runs() -> None:
    """The profiler slows kernels: float ones and integer ones are scaled by what their pure networks really take."""
    table = Lookup(profiles=PROFILES[:2], whole_us={"float": 15.0, "int8": 26.0}).cost_table(SPACE, {})
    assert table.site_us["a"] == pytest.approx({"float": 5.0, "int8": 8.0})
    assert table.quantize_us["x"] == pytest.approx(1.25)


def test_the_latest_known_run_is_predicted_exactly() -> None:
    whole = {"float": 15.0, "int8": 26.0, "proposal 1": 12.5}
    profiles = [*PROFILES, profile("proposal 1", "float", "int8", {"a": 10, "b": 6}, {"a": 1.5, "b": 2})]
    table = Lookup(profiles=profiles, whole_us=whole).cost_table(SPACE, {})
    assert table.predict_us({"a": "float", "b": "int8"}) == pytest.approx(12.5)


def test_the_held_out_profile_gives_the_error_and_nothing_else() -> None:
    strange = profile("held out", "int8", "float", {"a": 4, "b": 25}, {"x": 1, "a": 37})
    known = Lookup(profiles=PROFILES, whole_us={}).cost_table(SPACE, {})
    whole = {"held out": 66.0}  # without the profiler; no other network was timed, so nothing is scaled
    table = Lookup(profiles=[*PROFILES, strange], whole_us=whole, held_out="held out").cost_table(SPACE, {})
    assert table.site_us == known.site_us
    assert table.dequantize_us == known.dequantize_us
    assert table.error == pytest.approx(abs((1 + 4 + 8 + 20) / 66 - 1))
