"""Linear layers whose weights alone are integers: ONNX Runtime's MatMulNBits."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hwcomp.quantizer import QuantWeight
from hwcomp.scheme import WEIGHT_ONLY_BLOCK

CONTRIB = "com.microsoft"
ACCURACY_INT8 = 4
"""Lets the kernel round activations to 8 bits per row while it computes, which is what makes it fast on CPUs."""


def pack(values: NDArray[np.int8], bits: int, block: int) -> NDArray[np.uint8]:
    """Return integers (N, K) in MatMulNBits' layout (N, ceil(K / block), block * bits / 8), shifted to be unsigned.

    Two 4-bit integers share a byte, the one of lower index in the lower half.
    """
    rows, columns = values.shape
    blocks = -(-columns // block)
    shifted = np.full((rows, blocks * block), 1 << (bits - 1), np.uint8)
    shifted[:, :columns] = (values.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    if bits == 4:
        shifted = shifted[:, 0::2] | (shifted[:, 1::2] << 4)
    return np.ascontiguousarray(shifted.reshape(rows, blocks, -1))


def pack_weight_only(graph: ir.Graph, node: ir.Node, site: str, weight: QuantWeight) -> None:
    """Replace a Gemm by MatMulNBits with the weight's integers, scales and its float bias."""
    rows, columns = weight.values.shape
    arrays: dict[str, NDArray[np.generic]] = {
        "packed": pack(weight.values.numpy(), weight.bits, WEIGHT_ONLY_BLOCK),
        "scales": weight.scales.numpy().astype(np.float32).reshape(-1),
    }
    if weight.bias is not None:
        arrays["bias"] = weight.bias.numpy().astype(np.float32)
    constants = {}
    for name, array in arrays.items():
        constants[name] = ir.Value(name=f"{site}/{name}", const_value=ir.tensor(array, name=f"{site}/{name}"))
        graph.register_initializer(constants[name])
    inputs = [node.inputs[0], constants["packed"], constants["scales"], None, None, constants.get("bias")]
    attributes = {"K": columns, "N": rows, "bits": weight.bits, "block_size": WEIGHT_ONLY_BLOCK}
    product = ir.node(
        "MatMulNBits",
        inputs,
        attributes=attributes | {"accuracy_level": ACCURACY_INT8},
        domain=CONTRIB,
        name=f"{site}/MatMulNBits",
        metadata_props=dict(node.metadata_props),
    )
    before, after = node.outputs[0], product.outputs[0]
    after.name, after.shape, after.type = before.name, before.shape, before.type
    graph.insert_before(node, product)
    before.replace_all_uses_with(after, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    graph.opset_imports[CONTRIB] = 1
