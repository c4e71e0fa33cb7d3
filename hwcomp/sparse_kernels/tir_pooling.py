"""Pooling in TVM: down the rows of a window in vectors, then across its columns."""

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T  # noqa: N812 - as everywhere in TVM

from hwcomp.sparse_kernels.tir_loops import outer_copy

SMALLEST = -3.4e38


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooling:
    """A pooling of every channel for itself.

    Attributes:
        channels: of the input and the output.
        height: of the input, in pixels.
        width: of the input, in pixels.
        window: height and width.
        stride: down and across.
        padding: at the top and at the left; the rest follows from the output's size.
        output: height and width.
        lanes: floats of a vector.
        mean: the average, else the largest.
        counts_padding: whether an average is over the window with the padding in it.
    """

    channels: int
    height: int
    width: int
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    output: tuple[int, int]
    lanes: int
    mean: bool
    counts_padding: bool = True

    @property
    def padded(self) -> int:
        """Columns that windows of a row reach, with the padding; no column of the input is left out."""
        reached = (self.output[1] - 1) * self.stride[1] + self.window[1]
        return max(reached, self.padding[1] + self.width)

    def join(self, one: Any, other: Any) -> Any:
        """Return what is made of two pixels."""
        return one + other if self.mean else T.max(one, other)

    def scaled(self, total: Any, i: Any, j: Any) -> Any:
        """Return the output of what was made of all pixels of the window of output (i, j)."""
        if not self.mean:
            return total
        if self.counts_padding:
            return total * T.float32(1 / (self.window[0] * self.window[1]))
        return total / T.cast(self._inside(0, i, self.height) * self._inside(1, j, self.width), "float32")

    def _inside(self, axis: int, place: Any, size: int) -> Any:
        """Return how many pixels of a window's side are no padding."""
        begin = place * self.stride[axis] - self.padding[axis]
        return T.min(begin + self.window[axis], size) - T.max(begin, 0)


def pooling(pool: Pooling) -> Any:
    """Return a pooling as a function of TVM: x (1, C, H, W) -> y (1, C, H', W')."""
    channels, height, width, (high, wide) = pool.channels, pool.height, pool.width, pool.output
    (down, across), (step_down, step_across), (top, left) = pool.window, pool.stride, pool.padding
    padded, nothing = pool.padded, 0.0 if pool.mean else SMALLEST
    join, scaled = pool.join, pool.scaled
    lanes, loop = pool.lanes, outer_copy(channels * height * width)

    # fmt: off
    @T.prim_func(private=True, s_tir=True, check_well_formed=False)
    def kernel(  # noqa: ANN202 - TVM reads this text
        x: T.Buffer((1, channels, height, width), "float32"), y: T.Buffer((1, channels, high, wide), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8})
        with T.sblock("root"):  # TVM asks for it where there is one input
            for c in loop(channels):
                column = T.alloc_buffer((padded,), "float32")
                total = T.alloc_buffer((wide,), "float32")
                for i in T.serial(high):
                    for j in T.serial(padded):
                        column[j] = T.float32(nothing)
                    for u in T.unroll(down):
                        if i * step_down + u >= top and i * step_down + u - top < height:
                            for j in T.serial(width // lanes):
                                for lane in T.vectorized(lanes):
                                    column[left + j * lanes + lane] = join(
                                        column[left + j * lanes + lane],
                                        x[0, c, i * step_down + u - top, j * lanes + lane])
                            for j in T.serial(width % lanes):
                                column[left + width - width % lanes + j] = join(
                                    column[left + width - width % lanes + j],
                                    x[0, c, i * step_down + u - top, width - width % lanes + j])
                    for j in T.serial(wide):
                        total[j] = column[j * step_across]
                    for q in T.unroll(across - 1):
                        for j in T.serial(wide):
                            total[j] = join(total[j], column[j * step_across + q + 1])
                    for j in T.serial(wide):
                        y[0, c, i, j] = scaled(total[j], i, j)
    # fmt: on
    return kernel
