"""ONNX files that compute in float16, for runtimes on GPUs: half the memory traffic, and tensor cores.

Before: ``x -> Conv -> y`` in float32; after: ``x -> Cast -> Conv -> Cast -> y``, where only the inputs and outputs of
the network are float32, so that callers notice nothing.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from hwcomp.errors import LoweringError
from hwcomp.lowering.half_sites import LARGEST


def in_halves(model: bytes) -> bytes:
    """Return a float32 ONNX file with weights and tensors between operators in float16.

    Raises:
        LoweringError: a weight is too large for float16.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415 - only where it is asked for

    graph = onnx.load_model_from_string(model)
    for constant in graph.graph.initializer:
        if constant.data_type == onnx.TensorProto.FLOAT:
            _check(constant.name, numpy_helper.to_array(constant))
    content: bytes = convert_float_to_float16(graph, keep_io_types=True).SerializeToString()
    return content


def _check(name: str, values: NDArray[np.float32]) -> None:
    """Refuse what the conversion would cut off at the largest half."""
    size = np.abs(values[np.isfinite(values)])  # masks of attention may hold infinity, which float16 has too
    if size.size and size.max() > LARGEST:
        raise LoweringError(
            f"'{name}' has a value of {size.max():g}, and float16 ends at {LARGEST:g}; leave --precision out."
        )
