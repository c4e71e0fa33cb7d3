"""A convolution of every channel for itself, in TVM."""

from typing import Any

from tvm.script import tirx as T  # noqa: N812 - as everywhere in TVM

from hwcomp.sparse_kernels.planes import Planes
from hwcomp.sparse_kernels.tir_loops import outer

VECTORS = 2
"""Vectors of pixels that are computed together."""


def depthwise(planes: Planes, low: float, high_limit: float) -> Any:
    """Return a depthwise convolution as a function of TVM.

    Its arguments: x (1, C, H, W); weights (C, KH * KW); bias (C,); y (1, C, H', W').
    """
    channels, height, width = planes.channels, planes.height, planes.width
    phases, plane, pitch, stride, lanes = planes.phases, planes.plane, planes.pitch, planes.stride, planes.lanes
    (top, left), (high, wide) = planes.padding[:2], planes.output
    down, across = planes.kernel
    steps = -(-planes.outputs // (VECTORS * lanes))
    floats = phases * phases * plane + VECTORS * lanes
    floats += -floats % lanes
    loop = outer(channels * planes.outputs * down * across)

    def offset(tap: Any) -> Any:
        """Return where a tap reads, as `Planes.offsets` has it."""
        u, v = tap // across, tap % across
        return (u % stride * phases + v % stride) * plane + u // stride * pitch + v // stride

    # fmt: off
    @T.prim_func(private=True, s_tir=True, check_well_formed=False)
    def kernel(  # noqa: ANN202 - TVM reads this text
        x: T.Buffer((1, channels, height, width), "float32"), w: T.Buffer((channels, down * across), "float32"),
        b: T.Buffer((channels,), "float32"), y: T.Buffer((1, channels, high, wide), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8})
        for c in loop(channels):
            xs = T.alloc_buffer((floats,), "float32")
            ys = T.alloc_buffer((steps * VECTORS * lanes,), "float32")
            for i in T.serial(floats // lanes):
                for lane in T.vectorized(lanes):
                    xs[i * lanes + lane] = T.float32(0)
            for i in T.serial(height):
                for q in T.unroll(stride):
                    for j in T.serial((width - 1 - q) // stride + 1):
                        xs[((i + top) % stride * phases + (q + left) % stride) * plane
                           + (i + top) // stride * pitch + (q + left) // stride + j] = x[0, c, i, j * stride + q]
            for step in T.serial(steps):
                total = T.alloc_buffer((VECTORS, lanes), "float32", scope="local")
                for k in T.unroll(VECTORS):
                    for lane in T.vectorized(lanes):
                        total[k, lane] = b[c]
                for tap in T.unroll(down * across):
                    for k in T.unroll(VECTORS):
                        for lane in T.vectorized(lanes):
                            total[k, lane] = total[k, lane] + w[c, tap] * xs[
                                offset(tap) + (step * VECTORS + k) * lanes + lane]
                for k in T.unroll(VECTORS):
                    for lane in T.vectorized(lanes):
                        ys[(step * VECTORS + k) * lanes + lane] = T.min(
                            T.max(total[k, lane], T.float32(low)), T.float32(high_limit))
            for i in T.serial(high):
                for j in T.serial(wide):
                    y[0, c, i, j] = ys[i * pitch + j]
    # fmt: on
    return kernel
