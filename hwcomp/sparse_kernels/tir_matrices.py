"""Matrix products in TVM: four rows of the left one are the values of a block, columns of the right one the pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T  # noqa: N812 - as everywhere in TVM

from hwcomp.sparse_kernels.tir_convolution import LARGEST, UNBOUNDED
from hwcomp.sparse_kernels.tir_loops import outer, outer_copy
from hwcomp.sparse_kernels.tir_tile import tile_name

BLOCK = 4
"""Rows of the left matrix that are laid side by side, so that a float of the right one that was read serves all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrices:
    """A batch of products of matrices.

    Attributes:
        batch: how many.
        rows: of the left matrix.
        inputs: columns of the left matrix, rows of the right one.
        outputs: columns of the right matrix; at least a vector if it is not packed.
        lanes: floats of a vector.
        vectors: of a tile.
        threads: that share the work.
        is_packed: whether the right matrix is a constant that lies in panels, see `panels`; then the batch is 1.
    """

    batch: int
    rows: int
    inputs: int
    outputs: int
    lanes: int
    vectors: int
    threads: int
    is_packed: bool

    @property
    def block(self) -> int:
        """Rows that are laid side by side."""
        return BLOCK if self.rows >= BLOCK else 1

    @property
    def blocks(self) -> int:
        """Blocks of rows; the last one may be filled up."""
        return -(-self.rows // self.block)

    @property
    def step(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes

    @property
    def tiles(self) -> int:
        """Tiles of a row."""
        return -(-self.outputs // self.step)

    @property
    def pitch(self) -> int:
        """Floats of a row of the result."""
        return self.tiles * self.step if self.is_packed else self.outputs

    @property
    def right(self) -> tuple[int, int, int]:
        """Shape of the right matrices."""
        if self.is_packed:
            return self.tiles, self.inputs, self.step
        return self.batch, self.inputs, self.outputs

    @property
    def result(self) -> tuple[int, int, int]:
        """Shape of the result; what is beyond ``rows`` and ``outputs`` is of no use."""
        return self.batch, self.blocks * self.block, self.pitch

    def tables(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Return what a tile needs beside the matrices: offsets of the right one's rows, start and end, no bias."""
        width = self.step if self.is_packed else self.outputs
        offsets = (np.arange(self.inputs) * width).astype(np.int32)
        return offsets, np.array([0, self.inputs], np.int32), np.zeros(self.block, np.float32)


def panels(weight: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Return a matrix (K, N) as (ceil(N / step), K, step), filled up with zeros: tiles read it in order."""
    inputs, outputs = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -outputs % step)))
    return np.ascontiguousarray(padded.reshape(inputs, -1, step).transpose(1, 0, 2))


def matrix_product(shape: Matrices) -> Any:
    """Return a batch of products of matrices as a function of TVM.

    Its arguments: x (batch, rows, inputs); w, of the shape ``shape.right``; those of `Matrices.tables`; y, of the shape
    ``shape.result``.
    """
    batch, rows, inputs, block, blocks = shape.batch, shape.rows, shape.inputs, shape.block, shape.blocks
    tiles, step, pitch, right, result = shape.tiles, shape.step, shape.pitch, shape.right, shape.result
    last = -(-(shape.outputs - (tiles - 1) * step) // shape.lanes) if not shape.is_packed else shape.vectors
    usual, final = tile_name(block, shape.vectors), tile_name(block, last)
    back = (tiles - 1) * step + last * shape.lanes - shape.outputs if not shape.is_packed else 0
    parts = max(1, min(blocks, -(-4 * shape.threads // (tiles * batch))))
    share = -(-blocks // parts)
    loop, copy = outer(batch * rows * inputs * shape.outputs), outer_copy(batch * rows * inputs)
    panel = inputs * step if shape.is_packed else step
    one, out = inputs * shape.outputs, blocks * block * pitch

    # fmt: off
    @T.prim_func(private=True, s_tir=True, check_well_formed=False)
    def kernel(  # noqa: ANN202 - TVM reads this text
        x: T.Buffer((batch, rows, inputs), "float32"), w: T.Buffer(right, "float32"), o: T.Buffer((inputs,), "int32"),
        s: T.Buffer((2,), "int32"), b: T.Buffer((block,), "float32"), y: T.Buffer(result, "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8})
        xs = T.alloc_buffer((batch * blocks * inputs * block,), "float32")
        ws = T.decl_buffer((UNBOUNDED,), "float32", data=w.data)
        ys = T.decl_buffer((UNBOUNDED,), "float32", data=y.data)
        for n in copy(batch * blocks):
            for k in T.serial(inputs):
                for r in T.unroll(block):
                    xs[(n * inputs + k) * block + r] = x[n // blocks, T.min(n % blocks * block + r, rows - 1), k]
        for task in loop(batch * tiles * parts):
            item: T.int32 = task // (tiles * parts)
            tile: T.int32 = task // parts % tiles
            for n in T.serial(T.min(task % parts * share, blocks), T.min(task % parts * share + share, blocks)):
                if tile < tiles - 1:
                    T.evaluate(T.call_extern(
                        "int32", usual, T.address_of(ws[item * one + tile * panel]),
                        T.address_of(xs[(item * blocks + n) * inputs * block]), o.data, s.data, b.data, b.data,
                        T.address_of(ys[item * out + n * block * pitch + tile * step]), T.int64(0), T.int64(1),
                        T.int64(pitch), T.int64(0), T.float32(-LARGEST), T.float32(LARGEST)))
                else:
                    T.evaluate(T.call_extern(
                        "int32", final, T.address_of(ws[item * one + tile * panel]),
                        T.address_of(xs[(item * blocks + n) * inputs * block]), o.data, s.data, b.data, b.data,
                        T.address_of(ys[item * out + n * block * pitch + tile * step]), T.int64(0), T.int64(1),
                        T.int64(pitch), T.int64(back), T.float32(-LARGEST), T.float32(LARGEST)))
    # fmt: on
    return kernel
