"""How sparse weights are stored: blocks of rows that share their columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwcomp.errors import InputError

ROWS = (1, 4, 8, 16)
"""Heights of a block that there are kernels for."""

SINGLE, BLOCK = 1, 4
"""Heights that are chosen: single weights, and blocks; higher blocks are computed as several of these."""

OVERHEAD = 1.2
"""What a block costs beside its products, in products of one row: reading pixels and an offset."""


def work_of_blocks(count: int, rows: int) -> float:
    r"""Return how long blocks take, in products of one row: :math:`n (R + 1.2)` for n of R rows."""
    return count * (rows + OVERHEAD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """The blocks of a matrix that are not zero, block-row by block-row, each by ascending columns.

    Attributes:
        rows: height R of a block.
        values: (blocks * R,) float32; those of one block lie side by side.
        columns: (blocks,) int32.
        starts: (ceil(M / R) + 1,) int32; block-row r has the blocks starts[r] to starts[r + 1] - 1.
    """

    rows: int
    values: NDArray[np.float32]
    columns: NDArray[np.int32]
    starts: NDArray[np.int32]


def compress(weight: NDArray[np.floating], rows: int) -> Blocks:
    """Return the blocks of a weight that have a value which is not zero.

    The weight (M, C, KH, KW) is the matrix (M, C * KH * KW); block-row r is its rows r * R to r * R + R - 1, the last
    one filled up with zeros. A block is one column of a block-row.

    Raises:
        InputError: there is no kernel for blocks of that height, or a value is not finite.
    """
    if rows not in ROWS:
        raise InputError(f"Blocks of sparse weights have {', '.join(map(str, ROWS))} rows; found {rows}.")
    if not np.isfinite(weight).all():
        raise InputError("Sparse weights must be finite; found infinities or NaN.")
    channels = len(weight)
    matrix = weight.reshape(channels, int(np.prod(weight.shape[1:]))).astype(np.float32)
    padded = np.pad(matrix, ((0, -channels % rows), (0, 0)))
    blocks = padded.reshape(-1, rows, matrix.shape[1]).transpose(0, 2, 1)
    kept = blocks.any(axis=2)
    return Blocks(
        rows=rows,
        values=np.ascontiguousarray(blocks[kept]).reshape(-1),
        columns=np.nonzero(kept)[1].astype(np.int32),
        starts=np.concatenate([[0], kept.sum(axis=1).cumsum()]).astype(np.int32),
    )


def expand(blocks: Blocks, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the weight of that shape (M, ...) that was compressed."""
    channels, width = shape[0], int(np.prod(shape[1:]))
    block_rows = len(blocks.starts) - 1
    dense = np.zeros((block_rows, width, blocks.rows), np.float32)
    dense[np.repeat(np.arange(block_rows), np.diff(blocks.starts)), blocks.columns] = blocks.values.reshape(
        -1, blocks.rows
    )
    return dense.transpose(0, 2, 1).reshape(block_rows * blocks.rows, width)[:channels].reshape(shape)
