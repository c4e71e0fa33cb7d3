"""A model whose instructions are known, to find out how the runtime reads the clock."""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 256
FLOATS_IN_VECTOR = 4
MULTIPLICATIONS = SIDE**3 // FLOATS_IN_VECTOR
"""Vector multiply-adds of the product."""


def probe() -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """Return a model that is one product of square matrices, one of them constant, and its inputs."""
    ones = np.ones((SIDE, SIDE), np.float32)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ones.shape) for name in ("a", "c")]
    node = helper.make_node("MatMul", ["a", "b"], ["c"], name="product")
    graph = helper.make_graph([node], "probe", values[:1], values[1:], [numpy_helper.from_array(ones, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), {"a": ones}
