"""Activations that runtimes have no integer kernel for, written with the integer kernels that they have.

SiLU is x * sigmoid(x): a table look-up and an integer product. Hard-swish is x * (x + 3) / 6 between -3 and 3: with the
parameters of `hwcomp.quantizer.hard_knee_params` the factor (x + 3) / 6 is the *same integers* read with another scale
and zero point, cut at 1, so it costs one clip and one integer product. Hard-sigmoid is that reading alone and costs
nothing.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from hwcomp.quantizer import LIMITS


def _constant(graph: ir.Graph, name: str, value: float, dtype: type[np.generic]) -> ir.Value:
    constant = ir.Value(name=name, const_value=ir.tensor(np.array(value, dtype), name=name))
    graph.register_initializer(constant)
    return constant


def _insert(graph: ir.Graph, before: ir.Node, op_type: str, inputs: list[ir.Value], name: str) -> ir.Value:
    node = ir.node(op_type, inputs, name=name, metadata_props=dict(before.metadata_props))
    node.outputs[0].name = f"{name}:0"
    graph.insert_before(before, node)
    return node.outputs[0]


def _integers(node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return integers, scale and zero point behind the dequantised input of a node."""
    source = node.inputs[0]
    producer = source.producer() if source is not None else None
    assert producer is not None
    assert producer.op_type == "DequantizeLinear"
    integers, scale, zero = producer.inputs[:3]
    assert integers is not None
    assert scale is not None
    assert zero is not None
    return integers, scale, zero


def expand_sigmoid(graph: ir.Graph, node: ir.Node, site: str) -> None:
    """Round the sigmoid inside a SiLU to steps of 1 / 255, so that it is a table look-up; any other is left alone."""
    value = node.outputs[0]
    inside = [use for use in value.uses() if use.node.op_type == "Mul" and (use.node.name or "").startswith(f"{site}/")]
    if not inside:
        return
    _, _, zero = _integers(node)
    assert zero.const_value is not None
    dtype = zero.const_value.numpy().dtype
    scale = _constant(graph, f"{site}/gate_scale", 1 / 255, np.float32)
    smallest = _constant(graph, f"{site}/gate_zero_point", LIMITS[dtype.name][0], dtype.type)
    after = inside[0].node
    rounded = _insert(graph, after, "QuantizeLinear", [value, scale, smallest], f"{site}/gate_quantize")
    restored = _insert(graph, after, "DequantizeLinear", [rounded, scale, smallest], f"{site}/gate_dequantize")
    for use in inside:
        use.node.replace_input_with(use.idx, restored)


def _gate(graph: ir.Graph, node: ir.Node, site: str, *, cut: bool) -> ir.Value:
    """Return (x + 3) / 6 as a second reading of the integers of x, cut at 1 where asked."""
    integers, scale, zero = _integers(node)
    assert scale.const_value is not None
    assert zero.const_value is not None
    step, offset = float(scale.const_value.numpy()), zero.const_value.numpy()
    smallest, largest = LIMITS[offset.dtype.name]
    if cut:
        one = min(2 * int(offset) - smallest, largest)
        low = _constant(graph, f"{site}/gate_low", smallest, offset.dtype.type)
        high = _constant(graph, f"{site}/gate_high", one, offset.dtype.type)
        integers = _insert(graph, node, "Clip", [integers, low, high], f"{site}/gate_clip")
    gate_scale = _constant(graph, f"{site}/gate_scale", step / 6, np.float32)
    gate_zero = _constant(graph, f"{site}/gate_zero_point", smallest, offset.dtype.type)
    return _insert(graph, node, "DequantizeLinear", [integers, gate_scale, gate_zero], f"{site}/gate_dequantize")


def _replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    before = node.outputs[0]
    value.shape, value.type = before.shape, before.type
    before.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def expand_hardswish(graph: ir.Graph, node: ir.Node, site: str) -> None:
    """Turn a hard-swish into an integer clip and an integer product."""
    source = node.inputs[0]
    assert source is not None
    gate = _gate(graph, node, site, cut=True)
    _replace(graph, node, _insert(graph, node, "Mul", [source, gate], f"{site}/Mul"))


def name_hardswish(graph: ir.Graph, node: ir.Node, site: str) -> None:
    """Write a float hard-swish as the two nodes that the runtime makes of it, named so that profiles tell the site."""
    source = node.inputs[0]
    assert source is not None
    gate = ir.node(
        "HardSigmoid",
        [source],
        attributes={"alpha": 1 / 6, "beta": 0.5},
        name=f"{site}/HardSigmoid",
        metadata_props=dict(node.metadata_props),
    )
    gate.outputs[0].name = f"{site}/HardSigmoid:0"
    graph.insert_before(node, gate)
    _replace(graph, node, _insert(graph, node, "Mul", [source, gate.outputs[0]], f"{site}/Mul"))


def expand_hardsigmoid(graph: ir.Graph, node: ir.Node, site: str) -> None:
    """Turn a hard-sigmoid into another reading of its input's integers, which end at 1 by their range."""
    _replace(graph, node, _gate(graph, node, site, cut=False))


EXPANSIONS: dict[str, Callable[[ir.Graph, ir.Node, str], None]] = {
    "Sigmoid": expand_sigmoid,
    "HardSwish": expand_hardswish,
    "HardSigmoid": expand_hardsigmoid,
}
