"""The copy of a convolution's input into planes, and of its output out of them, in TVM."""

from typing import Any

from tvm import te
from tvm.script import tirx as T  # noqa: N812 - as everywhere in TVM

from hwcomp.sparse_kernels.planes import Planes
from hwcomp.sparse_kernels.tir_loops import outer_copy


def spread(planes: Planes) -> Any:
    """Return the copy into planes as a function of TVM: x (1, C, H, W) -> xs (C * floats,), see `Planes`."""
    channels, height, width, floats = planes.channels, planes.height, planes.width, planes.floats
    phases, plane, pitch, stride, lanes = planes.phases, planes.plane, planes.pitch, planes.stride, planes.lanes
    top, left = planes.padding[:2]
    high, wide = planes.output
    loop = outer_copy(channels * floats)

    def place(i: Any, q: Any) -> Any:
        """Return where the pixel of row i and column q is written, within its channel."""
        phase = (i + top) % phases * phases + (q + left) % phases
        return phase * plane + (i + top) // stride * pitch + (q + left) // stride

    # fmt: off
    @T.prim_func(private=True, s_tir=True, check_well_formed=False)
    def kernel(  # noqa: ANN202 - TVM reads this text
        x: T.Buffer((1, channels, height, width), "float32"), xs: T.Buffer((channels * floats,), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8})
        with T.sblock("root"):  # TVM asks for it where there is one input
            for c in loop(channels):
                for i in T.serial(floats // lanes):
                    for lane in T.vectorized(lanes):
                        xs[c * floats + i * lanes + lane] = T.float32(0)
                if phases == stride:
                    for i in T.serial(height):
                        for q in T.unroll(min(stride, width)):
                            for j in T.serial((width - 1 - q) // stride + 1):
                                xs[c * floats + place(i, q) + j] = x[0, c, i, j * stride + q]
                else:  # a window of one pixel: only the pixels that it meets
                    for i in T.serial(high):
                        if i * stride >= top and i * stride - top < height:
                            for j in T.serial(wide):
                                if j * stride >= left and j * stride - left < width:
                                    xs[c * plane + i * pitch + j] = x[0, c, i * stride - top, j * stride - left]
    # fmt: on
    return kernel


def cropped(planes: Planes, filters: int, source: Any) -> Any:
    """Return the outputs that are wanted, (1, M, H', W'), of all that were computed; what follows may be fused with it.

    Args:
        planes: of the input.
        filters: M.
        source: rows of ``planes.outputs`` floats, at least M.
    """
    pitch, outputs = planes.pitch, planes.outputs
    return te.compute(
        (1, filters, *planes.output), lambda _, m, i, j: source[m * outputs + i * pitch + j], name="cropped"
    )
