"""What the profile of a measured candidate makes of the table."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwcomp.cost import CostTable
from hwcomp.entries import Profile
from hwcomp.refinement import refined
from hwcomp.space import Edge, SearchSpace, Site

BOTH = ("float", "int8")
SPACE = SearchSpace(
    sites=tuple(Site(name=name, op="conv2d", candidates=BOTH) for name in ("a", "b", "c", "add")),
    edges=(
        Edge(tensor="x", elements=1, readers=("a",)),
        Edge(tensor="a", elements=1, readers=("b", "c")),
        Edge(tensor="b", elements=1, readers=("add",)),
        Edge(tensor="c", elements=1, readers=("add",)),
        Edge(tensor="add", elements=1, readers=("output",)),
    ),
)
TENSORS = ("x", "a", "b", "c", "add")
TABLE = CostTable(
    space=SPACE,
    site_us={name: {"float": 20.0, "int8": 8.0} for name in ("a", "b", "c", "add")},
    quantize_us=dict.fromkeys(TENSORS, 1.0),
    dequantize_us=dict.fromkeys(TENSORS, 2.0),
)
MIXED = {"a": "int8", "b": "float", "c": "float", "add": "float"}


def profile(assignment: dict[str, str], sites: dict[str, float], tensors: dict[str, float]) -> Profile:
    return Profile(name="candidate", assignment=assignment, site_us=sites, tensor_us=tensors)


SEEN = profile(MIXED, {"a": 9.0, "b": 27.0, "c": 19.0, "add": 21.0}, {"x": 1.5, "a": 3.0, "c": 0.5})

times = st.floats(0.01, 100.0)
sites = st.fixed_dictionaries({site.name: times for site in SPACE.sites}, optional={"a shape": times})
choices = st.fixed_dictionaries({site.name: st.sampled_from(BOTH) for site in SPACE.sites})


@given(choices, sites, st.dictionaries(st.sampled_from(TENSORS), times), times, st.floats(0.5, 2.0))
def test_the_profiled_assignment_is_predicted_exactly(
    assignment: dict[str, str], us: dict[str, float], tensors: dict[str, float], latency_us: float, correction: float
) -> None:
    table = replace(TABLE, correction=correction)
    found = refined(table, profile(assignment, us, tensors), latency_us)
    assert found.predict_us(assignment) == pytest.approx(latency_us)
    assert min(*(t for all_ in found.site_us.values() for t in all_.values()), *found.dequantize_us.values()) >= 0


def test_a_second_candidate_does_not_undo_what_the_first_has_in_common() -> None:
    first = refined(TABLE, SEEN, SEEN.total_us)
    other = profile({**MIXED, "a": "float"}, dict.fromkeys(MIXED, 18.0), {})
    second = refined(first, other, 72.0)
    assert second.predict_us(other.assignment) == pytest.approx(72.0)
    assert second.site_us["a"]["int8"] == first.site_us["a"]["int8"]


def test_a_float_operator_that_is_slow_behind_a_conversion_is_not_charged_in_the_float_network() -> None:
    """Its own entry stays; the conversion that made it slow is dearer."""
    found = refined(TABLE, SEEN, SEEN.total_us)
    assert found.site_us["b"]["float"] == pytest.approx(20.0)
    assert found.dequantize_us["a"] == pytest.approx(3.0 + 7.0)
    assert found.predict_us({}) == pytest.approx(20.0 + 20.0 + 19.5 + 21.0)


def test_layout_changes_belong_to_the_operator() -> None:
    found = refined(TABLE, SEEN, SEEN.total_us)
    assert found.site_us["c"]["float"] == pytest.approx(19.0 + 0.5)


def test_what_the_candidate_did_not_run_stays_as_it_was() -> None:
    found = refined(TABLE, SEEN, SEEN.total_us)
    assert found.site_us["a"]["float"] == 20.0
    assert found.site_us["b"]["int8"] == 8.0
    assert found.quantize_us == {**TABLE.quantize_us, "x": pytest.approx(1.5)}
    assert {name: us for name, us in found.dequantize_us.items() if name != "a"} == {
        name: us for name, us in TABLE.dequantize_us.items() if name != "a"
    }


def test_kernels_are_scaled_to_the_whole_run() -> None:
    """The profiler slows kernels: they add up to the run without it."""
    found = refined(TABLE, SEEN, SEEN.total_us / 2)
    assert found.site_us["a"]["int8"] == pytest.approx(4.5)
    assert found.quantize_us["x"] == pytest.approx(0.75)
