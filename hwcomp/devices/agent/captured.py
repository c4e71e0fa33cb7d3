"""A session on a GPU whose kernels are started together: a CUDA graph wants inputs and outputs to stay in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .wire import Header, Refused

TYPES_OF_TENSORS = {
    "tensor(float)": "float32",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}
"""ONNX Runtime's name of a type -> NumPy's, of the outputs that there are."""


class Captured:
    """A session of ONNX Runtime that is used as any other; the graph is captured by its first runs.

    Args:
        session: with a provider that captures graphs.
        place: where its tensors lie, as ONNX Runtime names it.
    """

    def __init__(self, session: Any, place: str) -> None:
        import onnxruntime as ort  # noqa: PLC0415 - heavy; `hello` tells where it is missing

        self._session, self._place, self._ort = session, place, ort
        self._binding = session.io_binding()
        self._inputs: dict[str, Any] = {}
        self._outputs = [self._bound_output(item) for item in session.get_outputs()]

    def _bound_output(self, item: Any) -> Any:
        kind = TYPES_OF_TENSORS.get(item.type)
        if kind is None or not all(type(size) is int for size in item.shape):
            described = f"output '{item.name}' has type {item.type} and shape {item.shape}"
            raise Refused(f"{described}, which a CUDA graph cannot write", "gpu")
        value = self._ort.OrtValue.ortvalue_from_shape_and_type(item.shape, kind, self._place, 0)
        self._binding.bind_ortvalue_output(item.name, value)
        return value

    def run(self, _outputs: None, feed: Header) -> list[Any]:
        """Return the outputs, arrays."""
        self.runner(feed)()
        return [value.numpy().copy() for value in self._outputs]

    def runner(self, feed: Header) -> Callable[[], Any]:
        """Return what runs the network once; inputs lie on the GPU before it is called, and outputs stay there."""
        for name, array in feed.items():
            if name not in self._inputs:
                room = self._ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, self._place, 0)
                self._inputs[name] = room
                self._binding.bind_ortvalue_input(name, room)
            self._inputs[name].update_inplace(array)
        return self._once

    def _once(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def get_inputs(self) -> list[Any]:
        """Return the inputs, in order: their names, shapes and types."""
        return list(self._session.get_inputs())

    def get_outputs(self) -> list[Any]:
        """Return the outputs likewise."""
        return list(self._session.get_outputs())

    def get_providers(self) -> list[str]:
        """Return the providers of the session, the first one first."""
        return list(self._session.get_providers())
