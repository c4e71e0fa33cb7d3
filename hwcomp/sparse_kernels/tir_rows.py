"""Means, softmax and layer normalisation in TVM: a row at a time, in vectors."""

from typing import Any

from tvm.script import tirx as T  # noqa: N812 - as everywhere in TVM

from hwcomp.sparse_kernels.tir_functions import exp
from hwcomp.sparse_kernels.tir_loops import outer, outer_copy

SMALLEST = -3.4e38

PRODUCTS_PER_EXP = 16
"""Operations of an exponential function."""


def mean(rows: int, width: int, lanes: int) -> Any:
    """Return the mean of every row as a function of TVM: x (rows, width) -> y (rows,)."""
    steps, rest, loop = width // lanes, width % lanes, outer_copy(rows * width)

    # fmt: off
    @T.prim_func(private=True, s_tir=True, check_well_formed=False)
    def kernel(  # noqa: ANN202 - TVM reads this text
        x: T.Buffer((rows, width), "float32"), y: T.Buffer((rows,), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8})
        with T.sblock("root"):  # TVM asks for it where there is one input
            for n in loop(rows):
                found = T.alloc_buffer((lanes,), "float32", scope="local")
                one = T.alloc_buffer((1,), "float32", scope="local")
                for lane in T.vectorized(lanes):
                    found[lane] = T.float32(0)
                for i in T.serial(steps):
                    for lane in T.vectorized(lanes):
                        found[lane] = found[lane] + x[n, i * lanes + lane]
                one[0] = T.float32(0)
                for lane in T.unroll(lanes):
                    one[0] = one[0] + found[lane]
                for j in T.serial(rest):
                    one[0] = one[0] + x[n, steps * lanes + j]
                y[n] = one[0] * T.float32(1 / width)
    # fmt: on
    return kernel


def softmax(rows: int, width: int, lanes: int) -> Any:
    """Return the softmax of every row as a function of TVM: x (rows, width) -> y (rows, width)."""
    steps, loop = -(-width // lanes), outer(rows * width * PRODUCTS_PER_EXP)

    # fmt: off
    @T.prim_func(private=True, s_tir=True, check_well_formed=False)
    def kernel(  # noqa: ANN202 - TVM reads this text
        x: T.Buffer((rows, width), "float32"), y: T.Buffer((rows, width), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8})
        with T.sblock("root"):  # TVM asks for it where there is one input
            for n in loop(rows):
                row = T.alloc_buffer((steps * lanes,), "float32")
                found = T.alloc_buffer((lanes,), "float32", scope="local")
                one = T.alloc_buffer((1,), "float32", scope="local")
                for lane in T.vectorized(lanes):
                    row[(steps - 1) * lanes + lane] = T.float32(SMALLEST)
                    found[lane] = T.float32(SMALLEST)
                for j in T.serial(width):
                    row[j] = x[n, j]
                for i in T.serial(steps):
                    for lane in T.vectorized(lanes):
                        found[lane] = T.max(found[lane], row[i * lanes + lane])
                one[0] = found[0]
                for lane in T.unroll(lanes):
                    one[0] = T.max(one[0], found[lane])
                for lane in T.vectorized(lanes):
                    found[lane] = T.float32(0)
                for i in T.serial(steps):
                    for lane in T.vectorized(lanes):
                        row[i * lanes + lane] = exp(row[i * lanes + lane] - one[0])
                    for lane in T.vectorized(lanes):
                        found[lane] = found[lane] + row[i * lanes + lane]
                one[0] = T.float32(0)
                for lane in T.unroll(lanes):
                    one[0] = one[0] + found[lane]
                one[0] = T.float32(1) / one[0]
                for j in T.serial(width):
                    y[n, j] = row[j] * one[0]
    # fmt: on
    return kernel


def layer_norm(rows: int, width: int, lanes: int, epsilon: float) -> Any:
    r"""Return the normalisation of every row as a function of TVM.

    .. math:: y = (x - \mu) / \sqrt{\sigma^2 + \epsilon} \cdot g + b

    Its arguments: x (rows, width); g (width,); b (width,); y (rows, width).
    """
    steps, loop = -(-width // lanes), outer_copy(rows * width)

    # fmt: off
    @T.prim_func(private=True, s_tir=True, check_well_formed=False)
    def kernel(  # noqa: ANN202 - TVM reads this text
        x: T.Buffer((rows, width), "float32"), g: T.Buffer((width,), "float32"), b: T.Buffer((width,), "float32"),
        y: T.Buffer((rows, width), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8})
        for n in loop(rows):
            row = T.alloc_buffer((steps * lanes,), "float32")
            found = T.alloc_buffer((lanes,), "float32", scope="local")
            one = T.alloc_buffer((1,), "float32", scope="local")
            mean = T.alloc_buffer((1,), "float32", scope="local")
            for lane in T.vectorized(lanes):
                row[(steps - 1) * lanes + lane] = T.float32(0)
                found[lane] = T.float32(0)
            for j in T.serial(width):
                row[j] = x[n, j]
            for i in T.serial(steps):
                for lane in T.vectorized(lanes):
                    found[lane] = found[lane] + row[i * lanes + lane]
            one[0] = T.float32(0)
            for lane in T.unroll(lanes):
                one[0] = one[0] + found[lane]
            mean[0] = one[0] * T.float32(1 / width)
            for j in T.serial(steps * lanes - width):
                row[width + j] = mean[0]  # what fills up the last vector deviates by nothing
            for lane in T.vectorized(lanes):
                found[lane] = T.float32(0)
            for i in T.serial(steps):
                for lane in T.vectorized(lanes):
                    row[i * lanes + lane] = row[i * lanes + lane] - mean[0]
                for lane in T.vectorized(lanes):
                    found[lane] = found[lane] + row[i * lanes + lane] * row[i * lanes + lane]
            one[0] = T.float32(0)
            for lane in T.unroll(lanes):
                one[0] = one[0] + found[lane]
            one[0] = T.rsqrt(one[0] * T.float32(1 / width) + T.float32(epsilon))
            for j in T.serial(width):
                y[n, j] = row[j] * one[0] * g[j] + b[j]
    # fmt: on
    return kernel
