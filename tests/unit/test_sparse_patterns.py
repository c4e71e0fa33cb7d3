"""Which weights a pattern keeps."""

from fractions import Fraction
from math import floor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.scheme import Sparse
from hwcomp.sparsity import density_at, pattern_mask

SHAPES = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)),
)
PERCENT = st.integers(1, 100)
SEEDS = st.integers(0, 10**6)


def scores_of(shape: tuple[int, ...], seed: int, *, ties: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, shape, generator=generator).float() if ties else torch.randn(shape, generator=generator)


def left_out(count: int, percent: int) -> int:
    return floor((1 - Fraction(percent, 100)) * count)


@settings(deadline=None)
@given(SHAPES, PERCENT, SEEDS, st.booleans())
def test_the_smallest_scores_are_left_out_as_many_as_asked(shape, percent: int, seed: int, ties: bool) -> None:
    scores = scores_of(shape, seed, ties=ties)
    mask = pattern_mask(scores, Sparse(density=percent / 100))
    assert mask.shape == scores.shape
    assert mask.dtype == scores.dtype
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert int((mask == 0).sum()) == left_out(scores.numel(), percent)
    if bool((mask == 0).any()):
        assert scores.abs()[mask == 0].max() <= scores.abs()[mask == 1].min()
    assert torch.equal(mask, pattern_mask(-scores, Sparse(density=percent / 100)))


def test_of_equal_scores_the_first_are_kept() -> None:
    assert pattern_mask(torch.ones(2, 4), Sparse(density=0.25)).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]


def by_hand(scores: Tensor, rows: int, columns: int, count: int) -> Tensor:
    """Keep blocks one after the other, the slow way."""
    matrices, found = scores.abs().reshape(*scores.shape[:2], -1), []
    for r in range(0, scores.shape[0], rows):
        for c in range(0, scores.shape[1], columns):
            means = matrices[r : r + rows, c : c + columns].double().mean((0, 1)).tolist()
            found += [(-mean, r, c, k) for k, mean in enumerate(means)]
    mask = torch.zeros_like(matrices)
    for _, r, c, k in sorted(found)[: len(found) - count]:
        mask[r : r + rows, c : c + columns, k] = 1
    return mask.reshape(scores.shape)


@settings(deadline=None)
@given(SHAPES, st.sampled_from([(4, 1), (8, 1), (1, 4), (1, 3), (2, 2)]), PERCENT, SEEDS)
def test_blocks_are_kept_whole_the_best_first(shape, block: tuple[int, int], percent: int, seed: int) -> None:
    scores, (rows, columns) = scores_of(shape, seed), block
    blocks = -(-shape[0] // rows) * -(-shape[1] // columns) * scores[0, 0].numel()
    mask = pattern_mask(scores, Sparse(rows=rows, columns=columns, density=percent / 100))
    assert torch.equal(mask, by_hand(scores, rows, columns, left_out(blocks, percent)))


def test_small_blocks_at_the_edge_compete_by_their_mean() -> None:
    scores = torch.ones(5, 1)
    scores[4] = 2.0  # alone in its block: a sum of 2 against a sum of 4
    assert pattern_mask(scores, Sparse(rows=4, density=0.5)).flatten().tolist() == [0, 0, 0, 0, 1]


@settings(deadline=None)
@given(SHAPES, st.sampled_from([(2, 4), (1, 4), (1, 3), (4, 4)]), SEEDS, st.booleans())
def test_of_every_m_weights_the_n_largest_are_kept(shape, pair: tuple[int, int], seed: int, ties: bool) -> None:
    scores, (kept, group) = scores_of(shape, seed, ties=ties), pair
    mask = pattern_mask(scores, Sparse(density=kept / group, group=group))
    for start in range(0, shape[1], group):
        values, chosen = scores[:, start : start + group].abs(), mask[:, start : start + group]
        size = values.shape[1]
        count = size - floor((1 - Fraction(kept, group)) * size)
        assert torch.equal(chosen.sum(1), torch.full_like(chosen.sum(1), count))
        largest = values.sort(1, descending=True).values[:, :count].sum(1)
        torch.testing.assert_close((values * chosen).sum(1), largest)


def test_a_density_of_its_own_takes_the_place_of_the_patterns() -> None:
    scores = scores_of((8, 8, 3, 3), 0)
    assert bool((pattern_mask(scores, Sparse(density=0.5, group=4), density=1.0) == 1).all())
    assert int(pattern_mask(scores, Sparse(density=0.5, group=4), density=0.7).sum()) == 8 * 8 * 9 * 3 // 4
    assert int(pattern_mask(scores, Sparse(density=0.1), density=0.5).sum()) == 8 * 8 * 9 // 2


@settings(deadline=None)
@given(SHAPES, st.sampled_from([(1, 1), (4, 1), (1, 4)]), st.integers(0, 200), SEEDS)
def test_the_least_is_kept_and_no_block_more(shape, block: tuple[int, int], least: int, seed: int) -> None:
    scores, (rows, columns) = scores_of(shape, seed), block
    sparse = Sparse(rows=rows, columns=columns, density=0.01)
    kept, asked = (int(pattern_mask(scores, sparse, least=count).sum()) for count in (least, 0))
    assert kept >= min(least, scores.numel())
    assert kept == asked or kept < least + rows * columns


def test_what_cannot_be_masked_is_refused() -> None:
    with pytest.raises(InputError, match="input channels; found the shape"):
        pattern_mask(torch.zeros(4), Sparse(density=0.5))
    for density in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="above 0 and at most 1"):
            pattern_mask(torch.zeros(4, 4), Sparse(density=0.5), density=density)


def test_the_density_falls_by_the_cube() -> None:
    assert [density_at(t, 0.1) for t in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.1 + 0.9 / 8, 0.1])
    with pytest.raises(InputError, match="from 0 to 1"):
        density_at(1.1, 0.1)
    with pytest.raises(InputError, match="above 0"):
        density_at(0.5, 0.0)
