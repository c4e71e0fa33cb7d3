"""How sparse weights are stored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwcomp.errors import InputError
from hwcomp.sparse_kernels.format import ROWS, compress, expand

SIDES = st.integers(1, 9)


@given(
    shape=st.tuples(st.integers(1, 40), SIDES, st.integers(1, 5), st.integers(1, 5)),
    rows=st.sampled_from(ROWS),
    density=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    seed=st.integers(0, 999),
)
def test_nothing_is_lost_and_only_blocks_with_a_value_are_kept(
    shape: tuple[int, ...], rows: int, density: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    weight = (generator.standard_normal(shape) * (generator.random(shape) < density)).astype(np.float32)
    blocks = compress(weight, rows)
    assert np.array_equal(expand(blocks, shape), weight)
    assert blocks.values.reshape(-1, rows).any(axis=1).all()
    assert len(blocks.starts) == -(-shape[0] // rows) + 1
    assert blocks.starts[0] == 0
    assert blocks.starts[-1] == len(blocks.columns) == len(blocks.values) // rows
    for first, last in zip(blocks.starts[:-1], blocks.starts[1:], strict=True):
        assert (np.diff(blocks.columns[first:last]) > 0).all()


def test_columns_count_input_channels_outside_and_kernel_positions_inside() -> None:
    weight = np.zeros((4, 3, 2, 5), np.float32)
    weight[1, 2, 1, 3] = 7.0
    blocks = compress(weight, 4)
    assert blocks.columns.tolist() == [(2 * 2 + 1) * 5 + 3]
    assert blocks.values.tolist() == [0.0, 7.0, 0.0, 0.0]
    assert (blocks.values.dtype, blocks.columns.dtype, blocks.starts.dtype) == (np.float32, np.int32, np.int32)


def test_rows_without_weights_and_weights_that_are_all_zero_have_no_blocks() -> None:
    assert compress(np.zeros((5, 2, 1, 1), np.float32), 4).starts.tolist() == [0, 0, 0]
    weight = np.zeros((3, 2, 1, 1), np.float32)
    weight[2, 1] = 1.0
    assert compress(weight, 1).starts.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("rows", [0, 2, 3, 32, -4])
def test_heights_without_a_kernel_are_refused(rows: int) -> None:
    with pytest.raises(InputError, match=rf"have 1, 4, 8, 16 rows; found {rows}\."):
        compress(np.ones((4, 1, 1, 1), np.float32), rows)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="must be finite"):
        compress(np.full((4, 1, 1, 1), value, np.float32), 4)
