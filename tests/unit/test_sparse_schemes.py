"""Names of sparse schemes, and what else hwcomp thinks of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwcomp.errors import InputError
from hwcomp.scheme import (
    Sparse,
    computes_in_float,
    is_sparse,
    quant_of,
    reads_float,
    reads_integers,
    schemes_of,
    sparse_of,
    split_of,
    writes_integers,
)

NAMES = {
    "sparse:0.1": Sparse(density=0.1),
    "sparse:1": Sparse(density=1.0),
    "sparse:1e-05": Sparse(density=1e-5),
    "sparse4x1:0.1": Sparse(rows=4, density=0.1),
    "sparse16x1:0.25": Sparse(rows=16, density=0.25),
    "sparse1x8:0.05": Sparse(columns=8, density=0.05),
    "sparse2of4": Sparse(density=0.5, group=4),
    "sparse1of3": Sparse(density=1 / 3, group=3),
}

REFUSED = {
    "sparse:0": "above 0 and at most 1; found 0",
    "sparse:-0.1": "above 0 and at most 1; found -0.1",
    "sparse:nan": "above 0 and at most 1; found nan",
    "sparse:1.5": "above 0 and at most 1; found 1.5",
    "sparse4x1:inf": "above 0 and at most 1; found inf",
    "sparse:many": "not a number",
    "sparse0x1:0.5": "at least 1x1",
    "sparse0of4": "at least one weight",
    "sparse5of4": "at most all",
    "sparse:0.10": "is written 'sparse:0.1'",
    "sparse1x1:0.1": "is written 'sparse:0.1'",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_a_pattern_and_back(name: str) -> None:
    assert sparse_of(name) == NAMES[name]
    assert str(NAMES[name]) == name
    assert is_sparse(name)


@given(st.integers(1, 32), st.integers(1, 32), st.floats(0, 1, exclude_min=True))
def test_every_pattern_has_one_name(rows: int, columns: int, density: float) -> None:
    sparse = Sparse(rows=rows, columns=columns, density=density)
    assert sparse_of(str(sparse)) == sparse
    assert split_of(str(sparse)) is None


@given(st.integers(1, 64).flatmap(lambda group: st.tuples(st.integers(1, group), st.just(group))))
def test_every_pattern_of_n_in_m_has_one_name(pair: tuple[int, int]) -> None:
    kept, group = pair
    sparse = Sparse(density=kept / group, group=group)
    assert str(sparse) == f"sparse{kept}of{group}"
    assert sparse_of(str(sparse)) == sparse


@pytest.mark.parametrize("name", REFUSED)
def test_bad_densities_and_second_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        sparse_of(name)


def test_patterns_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="no whole number of 4"):
        Sparse(density=0.3, group=4)
    with pytest.raises(InputError, match="one by one"):
        Sparse(rows=4, density=0.5, group=4)


@pytest.mark.parametrize(
    "name", ["float", "int8", "w4a4", "float:0.25+int8", "sparse", "sparsely:0.1", "sparse:0.1+int8"]
)
def test_other_schemes_are_not_sparse(name: str) -> None:
    assert sparse_of(name) is None
    assert not is_sparse(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_sparse_layer_reads_and_writes_float(name: str) -> None:
    assert schemes_of(name) == (name,)
    assert computes_in_float(name)
    assert reads_float(name)
    assert not reads_integers(name)
    assert not writes_integers(name)
    with pytest.raises(InputError, match="float weights"):
        quant_of(name)


def test_other_schemes_read_and_write_as_before() -> None:
    assert [reads_integers(name) for name in ("float", "int8", "weight8", "float:0.25+int8")] == [
        False,
        True,
        False,
        True,
    ]
    assert [reads_float(name) for name in ("float", "int8", "weight8", "float:0.25+int8")] == [True, False, True, True]
    assert [writes_integers(name) for name in ("float", "int8", "int8_float_output")] == [False, True, False]
    assert not computes_in_float("int8")
