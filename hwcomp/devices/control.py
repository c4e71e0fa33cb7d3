"""The control model: small, always the same; what makes a machine slower shows in it."""

from functools import cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from hwcomp.lowering.onnxruntime import Feed

CHANNELS, PIXELS = 32, 28


@cache
def control_model() -> bytes:
    """Return a convolution and its activation, well under a millisecond on most devices."""
    shape = [1, CHANNELS, PIXELS, PIXELS]
    weight = np.full((CHANNELS, CHANNELS, 3, 3), 1 / 64, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="control/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["y"], ["z"], name="control/Relu"),
    ]
    x, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xz")
    graph = helper.make_graph(nodes, "control", [x], [z], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@cache
def control_feed() -> Feed:
    """Return the control model's input."""
    return {"x": np.ones((1, CHANNELS, PIXELS, PIXELS), np.float32)}
