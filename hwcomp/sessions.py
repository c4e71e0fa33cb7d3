"""Opens a model with the runtime that it is for, here: an ONNX file or a library of TVM."""

from pathlib import Path
from typing import Any

import numpy as np

from hwcomp.devices import CPU
from hwcomp.devices.agent import sessions, strays
from hwcomp.devices.agent.libraries import Library, is_library
from hwcomp.devices.agent.wire import Refused
from hwcomp.errors import DeviceError, InputError, LoweringError
from hwcomp.lowering.onnxruntime import Array, open_session

TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}
"""Of inputs, as ONNX Runtime names them."""


def open_model(model: bytes | Path, threads: int, provider: str = CPU) -> Any:
    """Return a session of ONNX Runtime, or a library that is used as one: `get_inputs`, `get_outputs` and `run`.

    Args:
        model: ONNX file, or library; a library knows itself what computes it.
        threads: of the processor.
        provider: of ONNX Runtime, see `hwcomp.devices.agent.providers`; no other takes its place.

    Raises:
        LoweringError: the runtime cannot load the model, or is not installed.
        DeviceError: there is no GPU for the provider, something else that it needs is missing, or it leaves operators
            to the processor.
    """
    source = model if isinstance(model, bytes) else str(model)
    if not is_library(source):
        return open_session(model, threads) if provider == CPU else _on_gpu(source, threads, provider)
    try:
        return Library(source, threads)
    except (Refused, OSError, ValueError) as error:
        raise LoweringError(f"The library cannot be loaded: {error}.") from error


def zeros_for(item: Any) -> Array:
    """Return zeros for an input, as a session describes it.

    Raises:
        InputError: its type is unusual, or its shape is not fixed.
    """
    kind = TYPES.get(item.type)
    if kind is None or not all(isinstance(size, int) for size in item.shape):
        raise InputError(f"Input '{item.name}' has type {item.type} and shape {item.shape}, which cannot be made up.")
    zeros: Array = np.zeros(item.shape, kind)
    return zeros


def _on_gpu(source: bytes | str, threads: int, provider: str) -> Any:
    """Return a session after a run of zeros has shown that no operator is left to the processor."""
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        session = sessions.open_session(content, threads, provider=provider)
        zeros = {item.name: zeros_for(item) for item in session.get_inputs()}
        strays.check_on_gpu(content, zeros, threads, provider)
    except Refused as error:
        kind = DeviceError if error.kind == "gpu" else LoweringError
        raise kind(f"The model cannot be loaded on a GPU: {error}.") from error
    return session
