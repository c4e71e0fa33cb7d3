"""Facts about a program that cost models need; read-only."""

import math
from dataclasses import dataclass

from torch import fx, nn

from hwcomp.ops import anchor, module_of, op_of, shape_of
from hwcomp.program import Program


@dataclass(frozen=True, kw_only=True, slots=True)
class OpFacts:
    """How much work one operator is.

    Attributes:
        op: what it computes, see `hwcomp.ops`.
        macs: multiply-accumulates, for the batch of the example inputs.
        weights: number of weight elements.
        inputs: elements of all input tensors.
        outputs: elements of the output tensor.
        kernel: side of the convolution window; 1 where there is none.
        depthwise: whether every channel is filtered alone.
    """

    op: str
    macs: int
    weights: int
    inputs: int
    outputs: int
    kernel: int = 1
    depthwise: bool = False


def facts(program: Program) -> dict[str, OpFacts]:
    """Return the facts of every node that computes something, by node name."""
    return {node.name: _facts_of(node) for node in program.nodes if node.op.startswith("call_")}


def _facts_of(node: fx.Node) -> OpFacts:
    module = module_of(node)
    inner = anchor(module) if module is not None else None
    op = op_of(node)
    outputs = _elements(node)
    inputs = sum(_elements(source) for source in node.all_input_nodes)
    if isinstance(inner, (nn.Conv1d, nn.Conv2d)):
        window = math.prod(inner.kernel_size)
        return OpFacts(
            op=op,
            macs=outputs * inner.in_channels // inner.groups * window,
            weights=inner.weight.numel(),
            inputs=inputs,
            outputs=outputs,
            kernel=max(inner.kernel_size),
            depthwise=inner.groups == inner.in_channels and inner.groups > 1,
        )
    if isinstance(inner, nn.ConvTranspose2d):
        weights = inner.weight.numel()
        macs = inputs * inner.out_channels // inner.groups * math.prod(inner.kernel_size)
        return OpFacts(op=op, macs=macs, weights=weights, inputs=inputs, outputs=outputs, kernel=max(inner.kernel_size))
    if isinstance(inner, nn.Linear):
        weights = inner.weight.numel()
        return OpFacts(op=op, macs=outputs * inner.in_features, weights=weights, inputs=inputs, outputs=outputs)
    return OpFacts(op=op, macs=_function_macs(node, op, outputs), weights=0, inputs=inputs, outputs=outputs)


def _function_macs(node: fx.Node, op: str, outputs: int) -> int:
    shapes = [shape for source in node.all_input_nodes if (shape := shape_of(source))]
    if op == "matmul" and shapes:
        return outputs * shapes[0][-1]
    if op == "attention" and len(shapes) >= 3:
        # scores (T x S) from keys, then their mixture of values, both over the head's width
        return 2 * math.prod(shapes[0]) * shapes[1][-2]
    return 0


def _elements(node: fx.Node) -> int:
    shape = shape_of(node)
    return math.prod(shape) if shape is not None else 0
