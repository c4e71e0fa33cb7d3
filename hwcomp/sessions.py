"""Opens a model with the runtime that it is for, here: an ONNX file or a library of TVM."""

from pathlib import Path
from typing import Any

from hwcomp.devices.agent import Library, Refused, is_library
from hwcomp.errors import LoweringError
from hwcomp.lowering.onnxruntime import open_session


def open_model(model: bytes | Path, threads: int) -> Any:
    """Return a session of ONNX Runtime, or a library that is used as one: `get_inputs`, `get_outputs` and `run`.

    Raises:
        LoweringError: the runtime cannot load the model, or is not installed.
    """
    source = model if isinstance(model, bytes) else str(model)
    if not is_library(source):
        return open_session(model, threads)
    try:
        return Library(source, threads)
    except (Refused, OSError, ValueError) as error:
        raise LoweringError(f"The library cannot be loaded: {error}.") from error
