"""Which operators of an ONNX graph the library of sparse kernels cannot compute, and why."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hwcomp.lowering.onnx_export import SITE
from hwcomp.lowering.sparse_followers import constant

OPERATORS = ("Conv", "MatMul", "Gemm")
MOST_STRIDE = 16
DEPTHWISE_KERNELS, DEPTHWISE_STRIDES = ((3, 3), (5, 5), (7, 7)), ((1, 1), (2, 2))
"""What there are inner loops for: ``planes.h`` and ``depthwise_kernels.h``."""


def operator_of(graph: ir.Graph, site: str) -> ir.Node | None:
    """Return the node that multiplies by a site's weight, None if there is none."""
    nodes = (node for node in graph if node.metadata_props.get(SITE) == site and node.op_type in OPERATORS)
    return next(nodes, None)


def why_not(model: ir.Model, site: str, *, depthwise: bool = False) -> str | None:
    """Return why a site cannot become a sparse kernel, or a depthwise one; None if it can."""
    node = operator_of(model.graph, site)
    if node is None:
        return "the graph has no convolution or linear layer of that name"
    x, weight = node.inputs[0], constant(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if weight is None or (bias is not None and constant(bias) is None):
        return "its weight or its bias is computed, or stored as integers"
    if x is None or x.shape is None or not x.shape.is_static():
        return "the shape of its input is not known"
    if node.op_type == "Conv":
        return _why_not_conv(node, x.shape.numpy(), weight, depthwise=depthwise)
    return _why_not_linear(node, len(x.shape), depthwise=depthwise)


def _why_not_conv(node: ir.Node, shape: tuple[int, ...], weight: NDArray[np.float32], *, depthwise: bool) -> str | None:
    padding, groups = node.attributes.get_string("auto_pad", "NOTSET"), node.attributes.get_int("group", 1)
    if len(shape) != 4:
        return "it is no convolution of images"
    if padding != "NOTSET":
        return f"its padding is '{padding}'"
    if any(step != 1 for step in node.attributes.get_ints("dilations", (1,))):
        return "it is dilated"
    strides = tuple(node.attributes.get_ints("strides", (1, 1)))
    if depthwise:
        return _why_not_depthwise(weight.shape[2:], strides, is_depthwise=groups == shape[1] == len(weight))
    if groups != 1:
        return f"it has {groups} groups"
    return f"its stride is above {MOST_STRIDE}" if max(strides) > MOST_STRIDE else None


def _why_not_depthwise(kernel: tuple[int, ...], strides: tuple[int, ...], *, is_depthwise: bool) -> str | None:
    if not is_depthwise:
        return "it is not depthwise"
    if kernel not in DEPTHWISE_KERNELS or strides not in DEPTHWISE_STRIDES:
        return f"there is no depthwise kernel of {kernel[0]}x{kernel[1]} with strides {strides[0]} and {strides[1]}"
    return None


def _why_not_linear(node: ir.Node, rank: int, *, depthwise: bool) -> str | None:
    if depthwise:
        return "it is no convolution"
    if node.op_type == "Gemm" or rank != 3:
        return "a linear layer over single vectors has no tokens to compute side by side"
    return None
