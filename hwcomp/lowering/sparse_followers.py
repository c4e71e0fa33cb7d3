"""What follows an operator and can be computed by its kernel: a bias, a residual, and limits of the result."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

UNLIMITED = (-np.inf, np.inf)


@dataclass(frozen=True, kw_only=True, slots=True)
class Followers:
    """Nodes that are taken in, in order.

    Attributes:
        last: of them, or the operator itself.
        bias: what is added per channel; None if nothing is.
        residual: the tensor that is added; None if none is.
        low: least result.
        high: greatest result.
    """

    nodes: tuple[ir.Node, ...]
    last: ir.Node
    bias: NDArray[np.float32] | None = None
    residual: ir.Value | None = None
    low: float = UNLIMITED[0]
    high: float = UNLIMITED[1]

    def limits(self) -> dict[str, int | float | list[int]]:
        """Return the limits as attributes of a node."""
        return {"low": self.low, "high": self.high}


def constant(value: ir.Value | None) -> NDArray[np.float32] | None:
    """Return the value of a float constant, None if it is none."""
    if value is None or value.const_value is None:
        return None
    array: NDArray[np.generic] = value.const_value.numpy()
    return array.astype(np.float32) if array.dtype == np.float32 else None


def take_followers(node: ir.Node, *, residual: bool) -> Followers:
    """Return what can be taken in behind a node, as far as only the next one reads each tensor.

    Args:
        node: a convolution, or a product over the last axis, which may be followed by its bias.
        residual: whether a tensor may be added.
    """
    nodes: list[ir.Node] = []
    bias = added = None
    reader = _only_reader(node)
    if reader is not None and node.op_type == "MatMul" and (bias := _bias(node, reader)) is not None:
        nodes.append(reader)
        reader = _only_reader(reader)
    if residual and reader is not None and (added := _residual(nodes[-1] if nodes else node, reader)) is not None:
        nodes.append(reader)
        reader = _only_reader(reader)
    limits = None if reader is None else _limits(reader)
    if reader is not None and limits is not None:
        nodes.append(reader)
    low, high = limits or UNLIMITED
    last = nodes[-1] if nodes else node
    return Followers(nodes=tuple(nodes), last=last, bias=bias, residual=added, low=low, high=high)


def _only_reader(node: ir.Node) -> ir.Node | None:
    """Return the node that alone reads an output, None if there are more, or the graph gives it out."""
    output = node.outputs[0]
    uses = list(output.uses())
    return uses[0].node if len(uses) == 1 and not output.is_graph_output() else None


def _other(node: ir.Node, reader: ir.Node) -> ir.Value | None:
    """Return what a reader adds to a node's output; None if it does not add."""
    if reader.op_type != "Add":
        return None
    first, second = reader.inputs
    return second if first is node.outputs[0] else first


def _bias(node: ir.Node, reader: ir.Node) -> NDArray[np.float32] | None:
    added, weight = constant(_other(node, reader)), node.inputs[1]
    if added is None or weight is None or weight.shape is None or added.shape != (weight.shape[-1],):
        return None
    return added


def _residual(node: ir.Node, reader: ir.Node) -> ir.Value | None:
    added, output = _other(node, reader), reader.outputs[0]
    if added is None or constant(added) is not None or added.shape is None or output.shape is None:
        return None
    return added if added.shape == output.shape == node.outputs[0].shape else None


def _limits(reader: ir.Node) -> tuple[float, float] | None:
    """Return the ends of a Relu or Clip; None if it is neither, or they are computed."""
    if reader.op_type == "Relu":
        return 0.0, np.inf
    if reader.op_type != "Clip":
        return None
    ends = list(UNLIMITED)
    for index, value in enumerate(reader.inputs[1:]):
        if value is None:
            continue
        end = constant(value)
        if end is None:
            return None
        ends[index] = float(end)
    return ends[0], ends[1]
