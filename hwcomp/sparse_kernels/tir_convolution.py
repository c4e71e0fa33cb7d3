"""A convolution in TVM, as tiles of products between planes."""

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T  # noqa: N812 - as everywhere in TVM

from hwcomp.sparse_kernels.planes import Planes
from hwcomp.sparse_kernels.tir_loops import outer
from hwcomp.sparse_kernels.tir_tile import tile_name

LARGEST = 3.4e38
"""Stands for no limit."""

UNBOUNDED = 1 << 30
"""Extent of an array's memory as one row of floats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Convolution:
    """One convolution with what is fused into it.

    Attributes:
        planes: of its input.
        filters: channels of its output.
        rows: R, of a block of weights.
        vectors: of a tile.
        blocks: that are not zero, at least 1.
        parts: into which the block-rows are divided, to have something to do for every thread.
        adds: whether a tensor is added to the output; only where the output is written as it is.
        low: smallest output.
        high: largest output.
    """

    planes: Planes
    filters: int
    rows: int
    vectors: int
    blocks: int
    parts: int
    adds: bool = False
    low: float = -LARGEST
    high: float = LARGEST

    @property
    def block_rows(self) -> int:
        """Rows of blocks; the last one may be filled up."""
        return -(-self.filters // self.rows)

    @property
    def filled(self) -> int:
        """Filters with those that fill up the last block."""
        return self.block_rows * self.rows

    @property
    def tiles(self) -> int:
        """Tiles of a plane."""
        return -(-self.planes.outputs // (self.vectors * self.planes.lanes))

    @property
    def is_direct(self) -> bool:
        """Whether the outputs are exactly those that are wanted, in their order."""
        return not self.planes.is_cropped and self.filled == self.filters

    @property
    def source(self) -> tuple[int, ...]:
        """Shape of what it reads."""
        planes = self.planes
        if planes.is_packed:
            return (planes.channels * planes.floats,)
        return (1, planes.channels, planes.height, planes.width)

    @property
    def result(self) -> tuple[int, ...]:
        """Shape of what it writes; see `hwcomp.sparse_kernels.tir_planes.cropped` where it is one row after another."""
        return (1, self.filters, *self.planes.output) if self.is_direct else (self.filled * self.planes.outputs,)


def convolution(conv: Convolution) -> Any:
    """Return a convolution as a function of TVM.

    Its arguments: x, of the shape ``conv.source``; values, offsets and starts as `hwcomp.sparse_kernels.tir_tile` has
    them; bias, one for each row; ``parts``, (parts + 1,), where each part of the block-rows begins; what is added (the
    bias again where nothing is); y, of the shape ``conv.result``.
    """
    rows, vectors, lanes, outputs = conv.rows, conv.vectors, conv.planes.lanes, conv.planes.outputs
    parts, tiles, blocks, filled, adds = conv.parts, conv.tiles, conv.blocks, conv.filled, conv.adds
    source, result, low, high = conv.source, conv.result, conv.low, conv.high
    added = result if adds else (filled,)
    step = vectors * lanes
    last = -(-(outputs - (tiles - 1) * step) // lanes)
    usual, final = tile_name(rows, vectors, adds=adds), tile_name(rows, last, adds=adds)
    loop = outer((blocks + filled) * rows * outputs)
    back = (tiles - 1) * step + last * lanes - outputs

    # fmt: off
    @T.prim_func(private=True, s_tir=True, check_well_formed=False)
    def kernel(  # noqa: ANN202 - TVM reads this text
        x: T.Buffer(source, "float32"), v: T.Buffer((blocks * rows,), "float32"), o: T.Buffer((blocks,), "int32"),
        s: T.Buffer((filled // rows + 1,), "int32"), b: T.Buffer((filled,), "float32"),
        bounds: T.Buffer((parts + 1,), "int32"), z: T.Buffer(added, "float32"), y: T.Buffer(result, "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8})
        xs = T.decl_buffer((UNBOUNDED,), "float32", data=x.data)
        zs = T.decl_buffer((UNBOUNDED,), "float32", data=z.data)
        ys = T.decl_buffer((UNBOUNDED,), "float32", data=y.data)
        for task in loop(tiles * parts):
            tile: T.int32 = task // parts * step
            first: T.int32 = bounds[task % parts]
            end: T.int32 = bounds[task % parts + 1]
            if task // parts < tiles - 1:
                T.evaluate(T.call_extern(
                    "int32", usual, T.address_of(xs[tile]), v.data, o.data, s.data, b.data,
                    T.address_of(zs[tile if adds else 0]), T.address_of(ys[tile]), T.int64(first), T.int64(end),
                    T.int64(outputs), T.int64(0), T.float32(low), T.float32(high)))
            else:
                T.evaluate(T.call_extern(
                    "int32", final, T.address_of(xs[tile]), v.data, o.data, s.data, b.data,
                    T.address_of(zs[tile if adds else 0]), T.address_of(ys[tile]), T.int64(first), T.int64(end),
                    T.int64(outputs), T.int64(back), T.float32(low), T.float32(high)))
    # fmt: on
    return kernel
