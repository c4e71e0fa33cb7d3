"""Which of our kernels computes a convolution, and the calls of it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from hwcomp.lowering.relax_convolutions import Fused
from hwcomp.lowering.relax_graph import shape_of
from hwcomp.sparse_kernels.format import BLOCK, SINGLE, Blocks, compress, work_of_blocks
from hwcomp.sparse_kernels.planes import Planes
from hwcomp.sparse_kernels.tir_build import Vectors
from hwcomp.sparse_kernels.tir_convolution import Convolution, convolution
from hwcomp.sparse_kernels.tir_depthwise import depthwise
from hwcomp.sparse_kernels.tir_planes import cropped, spread

ROW_OVERHEAD = 3.0
"""What a block-row costs beside its blocks, in blocks: it is written even if it is empty."""

TASKS_PER_THREAD = 4


@dataclass(frozen=True, kw_only=True)
class ConvolutionKernels:
    """Emits calls of our kernels for convolutions.

    Attributes:
        vectors: of the target.
        threads: that share the work of a kernel.
    """

    vectors: Vectors
    threads: int

    def takes(self, call: Any) -> bool:
        """Return whether there is a kernel for a convolution: one image, equal strides, no dilation, or depthwise."""
        attributes = call.attrs
        batch, channels = shape_of(call.args[0])[:2]
        groups, filters = int(attributes.groups), shape_of(call)[1]
        equal = int(attributes.strides[0]) == int(attributes.strides[1])
        dilated = any(int(d) != 1 for d in attributes.dilation)
        return batch == 1 and equal and not dilated and (groups == 1 or groups == channels == filters)

    def __call__(self, builder: Any, fused: Fused, x: Any, added: Any) -> Any:
        """Return the call that computes a convolution, of functions that are added to the module."""
        if int(fused.call.attrs.groups) > 1:
            return self._depthwise(builder, fused, x, added)
        return self._convolution(builder, fused, x, added)

    def _planes(self, fused: Fused) -> Planes:
        attributes = fused.call.attrs
        _, channels, height, width = shape_of(fused.call.args[0])
        top, left, bottom, right = (int(p) for p in attributes.padding)
        return Planes(
            channels=channels,
            height=height,
            width=width,
            kernel=(fused.weight.shape[2], fused.weight.shape[3]),
            stride=int(attributes.strides[0]),
            padding=(top, left, bottom, right),
            lanes=self.vectors.lanes,
        )

    def _convolution(self, builder: Any, fused: Fused, x: Any, added: Any) -> Any:
        planes, blocks = self._planes(fused), best_blocks(fused.weight)
        conv = Convolution(
            planes=planes,
            filters=len(fused.weight),
            rows=blocks.rows,
            vectors=self.vectors.vectors(blocks.rows),
            blocks=max(1, len(blocks.columns)),
            parts=1,
        )
        bounds = balanced(blocks.starts, min(conv.block_rows, -(-TASKS_PER_THREAD * self.threads // conv.tiles)))
        conv = replace(conv, parts=len(bounds) - 1)
        if conv.is_direct:
            conv = replace(conv, adds=added is not None, low=fused.low, high=fused.high)
        bias = np.zeros(conv.filled, np.float32)
        if fused.bias is not None:
            bias[: conv.filters] = fused.bias
        offsets = planes.offsets(blocks.columns)
        arrays = [_at_least(blocks.values, conv.rows), _at_least(offsets, 1), blocks.starts, bias, bounds]
        constants = [relax.const(array) for array in arrays]
        source = builder.emit(call(builder, "spread", spread(planes), [x], conv.source)) if planes.is_packed else x
        arguments = [source, *constants, added if conv.adds else constants[3]]
        product = call(builder, "convolution", convolution(conv), arguments, conv.result)
        if conv.is_direct:
            return product
        flat = builder.emit(product)
        outputs = builder.emit(
            builder.call_te(lambda ys: cropped(planes, conv.filters, ys), flat, primfunc_name_hint="cropped")
        )
        return finished(builder, fused, outputs, added)

    def _depthwise(self, builder: Any, fused: Fused, x: Any, added: Any) -> Any:
        planes = self._planes(fused)
        bias = np.zeros(planes.channels, np.float32) if fused.bias is None else fused.bias
        arguments = [x, relax.const(fused.weight.reshape(planes.channels, -1)), relax.const(bias)]
        inside = replace(fused, low=-np.inf, high=np.inf) if added is not None else fused
        kernel = depthwise(planes, inside.low, inside.high)
        product = call(builder, "depthwise", kernel, arguments, (1, planes.channels, *planes.output))
        return product if added is None else finished(builder, fused, builder.emit(product), added)


def finished(builder: Any, fused: Fused, outputs: Any, added: Any) -> Any:
    """Return outputs with what was found behind their convolution, as operators that TVM fuses."""
    if added is not None:
        outputs = builder.emit(relax.op.add(outputs, added))
    return relax.op.clip(outputs, fused.low, fused.high) if fused.is_clamped else outputs


def best_blocks(weight: NDArray[np.float32]) -> Blocks:
    """Return a weight in blocks of the height that takes least time; a dense one is the case where all are there."""
    tried = [compress(weight, rows) for rows in (SINGLE, BLOCK)]
    return min(tried, key=lambda blocks: work_of_blocks(len(blocks.columns), blocks.rows))


def balanced(starts: NDArray[np.int32], parts: int) -> NDArray[np.int32]:
    """Return where parts of the block-rows begin, and the end, so that all have about as much to do."""
    work = starts + ROW_OVERHEAD * np.arange(len(starts))
    wanted = np.linspace(0, work[-1], parts + 1)
    bounds: NDArray[np.int32] = np.unique(np.searchsorted(work, wanted).clip(0, len(starts) - 1)).astype(np.int32)
    return bounds


def _at_least(array: NDArray[Any], length: int) -> NDArray[Any]:
    """Return an array that is not empty: TVM has no buffers of no elements."""
    return array if len(array) else np.zeros(length, array.dtype)


def call(builder: Any, name: str, kernel: Any, arguments: list[Any], shape: tuple[int, ...]) -> Any:
    """Return the call of a kernel that is added to the module; it writes floats of a shape."""
    return relax.call_tir(builder.add_func(kernel, name), arguments, relax.TensorType(shape, "float32"))
