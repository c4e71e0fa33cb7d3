"""How much work a kernel is, from its description alone."""

import math
from dataclasses import dataclass

from hwcomp.kernel import Kernel
from hwcomp.scheme import sparse_of


@dataclass(frozen=True, kw_only=True, slots=True)
class OpFacts:
    """How much work one operator is.

    Attributes:
        op: what it computes, see `hwcomp.ops`.
        macs: multiply-accumulates, for the batch of the example inputs; of sparse weights those that are not zero.
        weights: number of weight elements, likewise.
        inputs: elements of all input tensors.
        outputs: elements of the output tensor.
        window: side of the convolution window; 1 where there is none.
        depthwise: whether every channel is filtered alone.
    """

    op: str
    macs: int
    weights: int
    inputs: int
    outputs: int
    window: int = 1
    depthwise: bool = False


def facts_of(kernel: Kernel) -> OpFacts:
    """Return the facts of a kernel; one that is unknown has only its inputs and outputs."""
    inputs, outputs = sum(math.prod(shape) for shape in kernel.inputs), kernel.elements
    macs, weights = _macs_and_weights(kernel, outputs)
    sparse = sparse_of(kernel.scheme)
    if sparse is not None:
        macs, weights = round(macs * sparse.density), round(weights * sparse.density)
    window = kernel.window
    return OpFacts(
        op=kernel.op,
        macs=macs,
        weights=weights,
        inputs=inputs,
        outputs=outputs,
        window=max(window.size) if window else 1,
        depthwise=window is not None and 1 < window.groups == kernel.inputs[0][1],
    )


def _macs_and_weights(kernel: Kernel, outputs: int) -> tuple[int, int]:
    shapes, window, output = kernel.inputs, kernel.window, kernel.output
    if not shapes or output is None:
        return 0, 0
    if window is not None:
        # an image without a batch has its channels first
        channel = -1 - len(window.size)
        pairs = shapes[0][channel] * output[channel] // window.groups
        weights = pairs * math.prod(window.size)
        moved = shapes[0] if kernel.op.startswith("conv_transpose") else output
        return weights * math.prod(moved) // moved[channel], weights
    if kernel.op == "linear":
        return outputs * shapes[0][-1], output[-1] * shapes[0][-1]
    if kernel.op == "matmul":
        return outputs * shapes[0][-1], 0
    if kernel.op == "attention" and len(shapes) >= 3:
        # scores (T x S) from keys, then their mixture of values, both over the head's width
        return 2 * math.prod(shapes[0]) * shapes[1][-2], 0
    return 0, 0
