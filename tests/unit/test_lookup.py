"""The table that rows of the store must give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwcomp.cost_models.lookup import Lookup
from hwcomp.errors import InputError
from hwcomp.kernel import BOUNDARIES, Kernel, Kernels
from hwcomp.space import Edge, SearchSpace, Site

BOTH = ("float", "int8")
SIZES = {"x": 100, "a": 200, "b": 400}


def kernel(name: str, choice: str) -> Kernel:
    return Kernel(op="conv2d", scheme=choice, inputs=((1, 8),), output=(1, 8), detail=name)


def conversion(op: str, size: int) -> Kernel:
    return Kernel(op=op, scheme="uint8", inputs=((size,),), output=(size,))


SPACE = SearchSpace(
    sites=(Site(name="a", op="conv2d", candidates=BOTH), Site(name="b", op="conv2d", candidates=BOTH)),
    edges=(
        Edge(tensor="x", elements=100, readers=("a",)),
        Edge(tensor="a", elements=200, readers=("b",)),
        Edge(tensor="b", elements=400, readers=("output",)),
    ),
)
KERNELS = Kernels(
    sites={name: {choice: kernel(name, choice) for choice in BOTH} for name in ("a", "b")},
    tensors={name: {op: conversion(op, size) for op in BOUNDARIES} for name, size in SIZES.items()},
)
SITES = {kernel(name, choice).key: us for name, choice, us in
         [("a", "float", 10.0), ("a", "int8", 4.0), ("b", "float", 20.0), ("b", "int8", 6.0)]}  # fmt: skip


def rows(op: str, **seen_us: float) -> dict[str, float]:
    """Return rows of conversions of the tensors named."""
    return {conversion(op, SIZES[name]).key: us for name, us in seen_us.items()}


def table(conversions: dict[str, float]):
    return Lookup(rows=SITES | conversions).cost_table(SPACE, KERNELS)


def test_sites_and_conversions_are_looked_up() -> None:
    found = table(rows("quantize", x=1.0, a=1.5, b=9.0) | rows("dequantize", x=0.1, a=8.0, b=0.2))
    assert found.site_us == {"a": {"float": 10.0, "int8": 4.0}, "b": {"float": 20.0, "int8": 6.0}}
    assert found.quantize_us == {"x": 1.0, "a": 1.5, "b": 9.0}
    assert found.dequantize_us == {"x": 0.1, "a": 8.0, "b": 0.2}
    assert found.predict_us({"a": "int8"}) == pytest.approx(1.0 + 4.0 + 8.0 + 20.0)
    assert (found.provenance, found.error, found.held_out, found.correction) == ("measured", 0.0, 0, 1.0)


def test_the_kind_of_the_rows_is_the_kind_of_the_table() -> None:
    found = Lookup(rows=SITES, provenance="simulated", error=0.15).cost_table(SPACE, KERNELS)
    assert (found.provenance, found.error) == ("simulated", 0.15)


def test_rows_of_other_networks_change_nothing() -> None:
    assert table({kernel("c", "float").key: 99.0, conversion("quantize", 1).key: 99.0}) == table({})


def test_missing_kernels_are_named() -> None:
    """With how many there are, the first of them, and what to do."""
    some = {key: us for key, us in SITES.items() if "int8" not in key}
    lookup = Lookup(rows=some)
    first, second = sorted(SITES.keys() - some.keys())
    assert lookup.missing(KERNELS) == (first, second)
    with pytest.raises(InputError, match="lacks 2 of") as refused:
        lookup.cost_table(SPACE, KERNELS)
    assert f"'{first}'" in str(refused.value)
    assert "hwcomp profile" in str(refused.value)


def test_conversions_that_were_never_seen_are_not_missing() -> None:
    assert Lookup(rows=SITES).missing(KERNELS) == ()
    found = table({})
    assert set(found.quantize_us.values()) == set(found.dequantize_us.values()) == {0.0}


def test_a_conversion_that_was_never_seen_lies_on_the_line_through_the_others() -> None:
    found = table(rows("quantize", x=1.0, a=1.5) | rows("dequantize", a=4.0, b=6.0))
    assert found.quantize_us["b"] == pytest.approx(2.5)  # 0.5 + 0.005 * elements
    assert found.dequantize_us["x"] == pytest.approx(3.0)  # 2 + 0.01 * elements


def test_one_that_was_seen_stands_for_all() -> None:
    assert table(rows("quantize", a=1.5)).quantize_us == pytest.approx({"x": 1.5, "a": 1.5, "b": 1.5})


def test_a_line_that_falls_with_size_is_not_continued() -> None:
    """Times that do not grow with size say nothing of it: the middle one stands for what was not seen."""
    found = table(rows("quantize", x=3.0, a=1.0))
    assert found.quantize_us["b"] == pytest.approx(2.0)


def test_a_line_that_starts_below_zero_goes_through_zero() -> None:
    found = table(rows("dequantize", a=1.0, b=6.0))
    assert found.dequantize_us["x"] == pytest.approx(1.3)  # 0.013 * elements, by least squares


times = st.floats(1e-3, 1e4)


@given(st.dictionaries(st.sampled_from(sorted(SIZES)), times), st.dictionaries(st.sampled_from(sorted(SIZES)), times))
def test_no_entry_is_negative(quantize: dict[str, float], dequantize: dict[str, float]) -> None:
    found = table(rows("quantize", **quantize) | rows("dequantize", **dequantize))
    assert min(*found.quantize_us.values(), *found.dequantize_us.values()) >= 0
    for name, us in quantize.items():
        assert found.quantize_us[name] == us
