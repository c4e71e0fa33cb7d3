"""Write a quantisation plan into a float ONNX graph as QuantizeLinear / DequantizeLinear pairs.

A runtime recognises an operator between such pairs and computes it in integers. One pair per tensor, right after the
node that makes it; every reader that wants integers, and every reader at all of a tensor that is made as integers,
reads behind the pair.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hwcomp.fix import QuantPlan
from hwcomp.lowering.half_sites import insert_halves
from hwcomp.lowering.integer_activations import EXPANSIONS, name_hardswish
from hwcomp.lowering.onnx_export import SITE, tensor_values
from hwcomp.lowering.weight_only import pack_weight_only
from hwcomp.quantizer import QuantParams, QuantWeight
from hwcomp.scheme import FLOAT, QUANTS, reads_integers, writes_integers

NUMPY = {"uint8": np.uint8, "int8": np.int8, "int8_symmetric": np.int8}


def insert_qdq(model: ir.Model, quantization: QuantPlan) -> ir.Model:
    """Return a copy of a float graph (from ``export_float``) that computes what the plan says in integers, or halves.

    Raises:
        LoweringError: a weight is too large for float16.
    """
    if quantization.is_in_halves:
        return insert_halves(model, quantization.assignment)
    model = model.clone()
    graph = model.graph
    for site, weight in quantization.weights.items():
        _quantize_weight(graph, site, quantization.assignment[site], weight)
    values = tensor_values(model)
    for tensor, params in quantization.tensors.items():
        if tensor in values:
            _quantize_tensor(graph, tensor, values[tensor], params, quantization)
    for node in list(graph):
        site = node.metadata_props.get(SITE, "")
        if quantization.is_symmetric:
            continue  # for GPUs, which have kernels for the activations themselves
        if quantization.assignment.get(site, FLOAT) == "int8":
            _expand_activation(graph, node, site)
        elif node.op_type == "HardSwish":
            name_hardswish(graph, node, site)
    _set_biases(graph, quantization)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
    graph.sort()
    return model


def _constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def _scale_and_zero(graph: ir.Graph, name: str, params: QuantParams) -> tuple[ir.Value, ir.Value]:
    scale = _constant(graph, f"{name}/scale", np.array(params.scale, np.float32))
    zero = _constant(graph, f"{name}/zero_point", np.array(params.zero_point, NUMPY[params.dtype]))
    return scale, zero


def _named(op_type: str, inputs: list[ir.Value], name: str, attributes: dict[str, int] | None = None) -> ir.Node:
    site = name.partition("/")[0]
    node = ir.node(op_type, inputs, attributes=attributes, name=name, metadata_props={SITE: site})
    node.outputs[0].name = f"{name}:0"
    return node


def _quantize_tensor(
    graph: ir.Graph, tensor: str, value: ir.Value, params: QuantParams, quantization: QuantPlan
) -> None:
    made = writes_integers(quantization.assignment.get(tensor, FLOAT))
    uses = [
        use
        for use in value.uses()
        if made or reads_integers(quantization.assignment.get(use.node.metadata_props.get(SITE, ""), FLOAT))
    ]
    scale, zero = _scale_and_zero(graph, tensor, params)
    quantize = _named("QuantizeLinear", [value, scale, zero], f"{tensor}/quantize")
    dequantize = _named("DequantizeLinear", [quantize.outputs[0], scale, zero], f"{tensor}/dequantize")
    restored = dequantize.outputs[0]
    restored.shape, restored.type = value.shape, value.type
    for use in uses:
        use.node.replace_input_with(use.idx, restored)
    if made and value.is_graph_output():
        index = list(graph.outputs).index(value)
        restored.name, value.name = value.name, f"{tensor}/float"
        graph.outputs[index] = restored
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(producer, [quantize, dequantize])


def _operator(graph: ir.Graph, site: str) -> ir.Node:
    kinds = ("Conv", "Gemm")
    return next(node for node in graph if node.metadata_props.get(SITE) == site and node.op_type in kinds)


def _quantize_weight(graph: ir.Graph, site: str, scheme: str, weight: QuantWeight) -> None:
    node = _operator(graph, site)
    if not QUANTS[scheme].reads_integers:
        pack_weight_only(graph, node, site, weight)
        return
    values, axis = weight.values.numpy(), 0
    transposed = node.attributes.get("transB")
    if node.op_type == "Gemm" and (transposed is None or not transposed.as_int()):
        values, axis = np.ascontiguousarray(values.T), 1
    scales = weight.scales.numpy().astype(np.float32)
    inputs = [
        _constant(graph, f"{site}/weight", values),
        _constant(graph, f"{site}/weight_scale", scales),
        _constant(graph, f"{site}/weight_zero_point", np.zeros(scales.shape, np.int8)),
    ]
    dequantize = _named("DequantizeLinear", inputs, f"{site}/weight_dequantize", {"axis": axis})
    graph.insert_before(node, dequantize)
    node.replace_input_with(1, dequantize.outputs[0])


def _set_biases(graph: ir.Graph, quantization: QuantPlan) -> None:
    """Store biases as 32-bit integers in the accumulator's scale, which integer kernels add for free.

    Behind a symmetric format they stay float, corrected.
    """
    for site, weight in quantization.weights.items():
        if not QUANTS[quantization.assignment[site]].reads_integers or weight.bias is None:
            continue
        node = _operator(graph, site)
        if quantization.is_symmetric:
            _set_input(node, 2, _constant(graph, f"{site}/bias", weight.bias.numpy().astype(np.float32)))
            continue
        source = node.inputs[0]
        producer = source.producer() if source is not None else None
        if producer is None or producer.inputs[1] is None or producer.inputs[1].const_value is None:
            raise ValueError(f"The input of integer operator '{site}' is not quantised")
        scales = weight.scales.numpy().astype(np.float32) * np.float32(producer.inputs[1].const_value.numpy())
        bias = np.round(weight.bias.numpy().astype(np.float64) / scales).astype(np.int32)  # `plan` made it fit
        inputs = [
            _constant(graph, f"{site}/bias", bias),
            _constant(graph, f"{site}/bias_scale", scales),
            _constant(graph, f"{site}/bias_zero_point", np.zeros(scales.shape, np.int32)),
        ]
        dequantize = _named("DequantizeLinear", inputs, f"{site}/bias_dequantize", {"axis": 0})
        graph.insert_before(node, dequantize)
        _set_input(node, 2, dequantize.outputs[0])


def _set_input(node: ir.Node, index: int, value: ir.Value) -> None:
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def _expand_activation(graph: ir.Graph, node: ir.Node, site: str) -> None:
    expand = EXPANSIONS.get(node.op_type)
    if expand is not None and node.name is not None and node.name.startswith(f"{site}/{node.op_type}"):
        expand(graph, node, site)
