"""The kernel of all products: some rows of a matrix that is known beforehand, sparse or not, times a tile of pixels."""

from typing import Any

from tvm.script import tirx as T  # noqa: N812 - as everywhere in TVM

UNBOUNDED = 1 << 40
"""Extent of arrays whose length is known where the kernel is called."""


def tile_name(rows: int, vectors: int, *, adds: bool = False) -> str:
    """Return the symbol of a kernel."""
    return f"hwcomp_tile_r{rows}_v{vectors}{'_add' if adds else ''}"


def tile(rows: int, vectors: int, lanes: int, *, adds: bool = False) -> Any:
    r"""Return the kernel as a function of TVM, with the calling convention of C.

    For block-rows :math:`i` from ``first`` to ``last - 1`` it computes, in ``rows`` x ``vectors`` registers,

    .. math:: y_{iR+r, p} = \min\Big(\max\Big(b_{iR+r} + z_{iR+r, p}
        + \sum_{k=s_i}^{s_{i+1}-1} v_{k, r} \; x_{o_k + p}, \; low\Big), \; high\Big)

    where :math:`z` is left out unless it ``adds``. A non-zero is an offset :math:`o_k` in elements into the input, so
    that a pixel of another channel, or a neighbour in a padded plane, is reached in the same way: products by pixel and
    convolutions are one kernel. Its ``rows`` values lie together.

    Args:
        rows: R, of a block.
        vectors: of pixels, 1 or more; ``rows * vectors`` accumulators must fit the registers.
        lanes: floats of a vector.
        adds: whether there is a tensor to add.

    The arguments of the function: x, at the first pixel; v, (blocks, R); o, (blocks,); s, (block-rows + 1,); b, one for
    each row; z and y, at the first pixel, their rows ``pitch`` floats apart; ``first``, ``last``; ``pitch``; ``shift``,
    pixels by which the last vector is moved back, so that what is left over at the end of a plane overlaps with what is
    done already; ``low`` and ``high``.
    """
    symbol = tile_name(rows, vectors, adds=adds)

    def pixel(c: Any, lane: Any, shift: Any) -> Any:
        """Return the place of a lane of a vector in the tile."""
        return T.if_then_else(c == vectors - 1, c * lanes - shift, T.int64(c * lanes)) + lane

    # fmt: off
    @T.prim_func(s_tir=True, check_well_formed=False)
    def kernel(  # noqa: ANN202 - TVM reads this text
        x_data: T.handle("float32"), v_data: T.handle("float32"), o_data: T.handle("int32"), s_data: T.handle("int32"),
        b_data: T.handle("float32"), z_data: T.handle("float32"), y_data: T.handle("float32"),
        first: T.int64, last: T.int64, pitch: T.int64, shift: T.int64, low: T.float32, high: T.float32,
    ):
        T.func_attr({"global_symbol": symbol, "tirx.noalias": True})
        x = T.decl_buffer((T.int64(UNBOUNDED),), "float32", data=x_data)
        v = T.decl_buffer((T.int64(UNBOUNDED),), "float32", data=v_data)
        o = T.decl_buffer((T.int64(UNBOUNDED),), "int32", data=o_data)
        s = T.decl_buffer((T.int64(UNBOUNDED),), "int32", data=s_data)
        b = T.decl_buffer((T.int64(UNBOUNDED),), "float32", data=b_data)
        z = T.decl_buffer((T.int64(UNBOUNDED),), "float32", data=z_data)
        y = T.decl_buffer((T.int64(UNBOUNDED),), "float32", data=y_data)
        for i in range(last - first):
            total = T.alloc_buffer((rows, vectors, lanes), "float32", scope="local")
            for r in T.unroll(rows):
                for c in T.unroll(vectors):
                    for lane in T.vectorized(lanes):
                        total[r, c, lane] = b[(first + i) * rows + r]
            begin: T.int32 = s[first + i]
            end: T.int32 = s[first + i + 1]
            for k in range(end - begin):
                place: T.int32 = o[begin + k]
                for c in T.unroll(vectors):
                    for r in T.unroll(rows):
                        for lane in T.vectorized(lanes):
                            total[r, c, lane] = (
                                total[r, c, lane]
                                + v[T.int64(begin + k) * rows + r] * x[T.int64(place) + pixel(c, lane, shift)]
                            )
            for r in T.unroll(rows):
                for c in T.unroll(vectors):
                    for lane in T.vectorized(lanes):
                        if adds:
                            total[r, c, lane] = (
                                total[r, c, lane] + z[((first + i) * rows + r) * pitch + pixel(c, lane, shift)]
                            )
                        y[((first + i) * rows + r) * pitch + pixel(c, lane, shift)] = T.min(
                            T.max(total[r, c, lane], low), high
                        )
    # fmt: on
    return kernel
