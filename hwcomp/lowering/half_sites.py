"""Write into a float ONNX graph that some of its operators compute in halves.

Before: ``x -> Conv -> y`` in float32; after: ``x -> Cast -> Conv -> y`` where the convolution is in halves, and
``y -> Cast`` before those readers that are not. Neighbours in halves pass halves on, so that casts stand only where the
format changes: one for a tensor, named as the conversions of integers are.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from hwcomp.errors import LoweringError
from hwcomp.lowering.onnx_export import SITE
from hwcomp.scheme import FLOAT, FLOAT16

HALVES = ir.TensorType(ir.DataType.FLOAT16)
LARGEST = float(np.finfo(np.float16).max)


def insert_halves(model: ir.Model, assignment: Mapping[str, str]) -> ir.Model:
    """Return a copy of a float graph (from ``export_float``) in which the sites with scheme "float16" are in halves.

    Raises:
        LoweringError: a weight is too large for float16.
    """
    model = model.clone()
    graph = model.graph
    narrow = {node for node in graph if assignment.get(node.metadata_props.get(SITE, ""), FLOAT) == FLOAT16.name}
    narrow = {node for node in narrow if node.op_type != "Constant"}
    made = [value for node in narrow for value in node.outputs if value.dtype == ir.DataType.FLOAT]
    for node in narrow:
        _own_casts(node)
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype == ir.DataType.FLOAT and value.const_value is not None:
                node.replace_input_with(index, _in_halves(graph, value))
    for value in made:
        value.type = HALVES  # a new type: clones share those of their original
    for value in made:
        _cast_after(graph, value, narrow)
    others = [*graph.inputs, *(value for node in graph if node not in narrow for value in node.outputs)]
    for value in others:
        if value.dtype == ir.DataType.FLOAT:
            _cast_before(graph, value, narrow)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
    graph.sort()
    return model


def _own_casts(node: ir.Node) -> None:
    """Make a cast to float32 that is part of an operator one to halves."""
    if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
        node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT16)


def _in_halves(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """Return a constant in halves."""
    name = f"{value.name}.half"
    known = graph.initializers.get(name)
    if known is not None:
        return known
    assert value.const_value is not None
    array = value.const_value.numpy()
    size = np.abs(array[np.isfinite(array)])  # masks of attention may hold infinity, which float16 has too
    if size.size and size.max() > LARGEST:
        raise LoweringError(f"'{value.name}' has a value of {size.max():g}, and float16 ends at {LARGEST:g}.")
    half = ir.Value(name=name, const_value=ir.tensor(array.astype(np.float16), name=name))
    half.type, half.shape = HALVES, value.shape
    graph.register_initializer(half)
    return half


def _cast(value: ir.Value, name: str, to: ir.DataType) -> ir.Node:
    site = name.partition("/")[0]
    node = ir.node("Cast", [value], attributes={"to": to}, name=name, metadata_props={SITE: site})
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = f"{name}:0", value.shape, ir.TensorType(to)
    return node


def _tensor(value: ir.Value) -> str:
    """Return what a conversion of a tensor is named after: the site that makes it, or the graph's input."""
    producer = value.producer()
    if producer is None:
        return str(value.name)
    return producer.metadata_props.get(SITE, "") or str(value.name)


def _cast_after(graph: ir.Graph, value: ir.Value, narrow: set[ir.Node]) -> None:
    """Give readers in float32 a value that is made in halves."""
    uses = [use for use in value.uses() if use.node not in narrow]
    if not uses and not value.is_graph_output():
        return
    cast = _cast(value, _fresh(graph, f"{_tensor(value)}/dequantize"), ir.DataType.FLOAT)
    restored = cast.outputs[0]
    for use in uses:
        use.node.replace_input_with(use.idx, restored)
    if value.is_graph_output():
        index = list(graph.outputs).index(value)
        restored.name, value.name = value.name, f"{_tensor(value)}/half"
        graph.outputs[index] = restored
    producer = value.producer()
    assert producer is not None
    graph.insert_after(producer, cast)


def _cast_before(graph: ir.Graph, value: ir.Value, narrow: set[ir.Node]) -> None:
    """Give readers in halves a value that is made in float32."""
    uses = [use for use in value.uses() if use.node in narrow]
    if not uses:
        return
    cast = _cast(value, _fresh(graph, f"{_tensor(value)}/quantize"), ir.DataType.FLOAT16)
    for use in uses:
        use.node.replace_input_with(use.idx, cast.outputs[0])
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], cast)
    else:
        graph.insert_after(producer, cast)


def _fresh(graph: ir.Graph, name: str) -> str:
    """Return a name for a node that no other has."""
    taken = {node.name for node in graph}
    names = (name, *(f"{name}_{index}" for index in range(1, len(taken) + 1)))
    return next(one for one in names if one not in taken)
