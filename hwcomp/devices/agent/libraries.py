"""A network that is a library of TVM: what it says of itself, and how it is run."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .carried import ELF_MAGIC, ending, installed
from .tvm_runtime import TVM_ALL_CORES, TVM_CPU, TVM_GPU, TVM_POOL, load_gpu_runtime, tvm_function, tvm_runtime
from .wire import Header, Refused, Source

LIBRARY_MARK = b"hwcomp-library/1"
"""End of a network that is a library of TVM, behind its signature (JSON) and the length of that."""

ALIGNMENT_BYTES = 64
"""Of tensors, as TVM's code expects it."""


def is_library(source: Source) -> bool:
    """Return whether a model is a library of TVM; anything else is for ONNX Runtime."""
    if isinstance(source, bytes):
        return source.startswith(ELF_MAGIC)
    with Path(source).open("rb") as file:
        return file.read(len(ELF_MAGIC)) == ELF_MAGIC


def signature(source: Source) -> Header:
    """Return the names, shapes and types of the inputs and outputs of a library of TVM."""
    text = ending(source, LIBRARY_MARK)
    if text is None:
        raise Refused("a library that hwcomp did not write, or not all of it")
    found: Header = json.loads(text)
    return found


def inputs_of(source: Source) -> list[Any]:
    """Return the inputs of a library, in order, without loading it: it may be for another machine."""
    return _named(signature(source)["inputs"])


def _named(items: list[Header]) -> list[Any]:
    return [types.SimpleNamespace(**item) for item in items]


class Library:
    """A network as a library, run by TVM's runtime alone: none of its compiler. It is used as a session is."""

    def __init__(self, source: Source, threads: int) -> None:
        self.signature = signature(source)
        self._is_for_gpu = self.signature.get("device") == "cuda"
        path = installed(source if isinstance(source, bytes) else Path(source).read_bytes())
        tvm_ffi = tvm_runtime()
        if self._is_for_gpu:
            load_gpu_runtime(self.signature["compute"])
        else:
            tvm_ffi.get_global_func("runtime.config_threadpool")(TVM_ALL_CORES, threads)
        self._device = tvm_ffi.Device(TVM_GPU if self._is_for_gpu else TVM_CPU, 0)
        self._module = tvm_ffi.load_module(path)
        self._machine = self._module["vm_load_executable"]()
        places = (TVM_GPU, 0, TVM_POOL) if self._is_for_gpu else ()
        self._machine["vm_initialization"](*places, TVM_CPU, 0, TVM_POOL)
        self._main = self._machine["main"]
        self._inputs = [_aligned(item) for item in self.signature["inputs"]]
        self._tensors = [tvm_ffi.from_dlpack(place) for place in self._inputs]
        self._copies = [self._room(tensor, self._device) for tensor in self._tensors]

    def run(self, _outputs: None, feed: Header) -> list[Any]:
        """Return the outputs, arrays."""
        import numpy as np  # noqa: PLC0415 - told by `hello` where it is missing

        made = self.runner(feed)()
        outputs = made if hasattr(made, "__iter__") else [made]
        return [np.array(np.from_dlpack(self._fetched(one))) for one in outputs]

    def runner(self, feed: Header) -> Callable[[], Any]:
        """Return what runs the network once and gives tensors of its device; inputs lie there before it is called."""
        for item, place in zip(self.signature["inputs"], self._inputs):  # noqa: B905 - Python 3.9 has no `strict`
            array = feed[item["name"]]
            if array.shape != place.shape or array.dtype != place.dtype:
                raise Refused(f"input '{item['name']}' must be {place.dtype} of shape {place.shape}")
            place[...] = array
        for tensor, copy in zip(self._tensors, self._copies):  # noqa: B905 - see above
            if copy is not tensor:
                tvm_function("TVMTensorCopyFromTo")(tensor, copy)
        self._wait()
        return self._once

    def _once(self) -> Any:
        made = self._main(*self._copies)
        self._wait()  # the call only queues kernels: without this their launch would be timed, not their work
        return made

    def _wait(self) -> None:
        if self._is_for_gpu:
            tvm_function("Device_StreamSync")(self._device, 0)

    def _room(self, tensor: Any, device: Any) -> Any:
        """Return room for a tensor on a device; the tensor itself where no GPU is used."""
        if not self._is_for_gpu:
            return tensor
        return tvm_function("TVMTensorAllocWithScope")(tensor.shape, tensor.dtype, device, None)

    def _fetched(self, tensor: Any) -> Any:
        """Return a tensor in the processor's memory."""
        if not self._is_for_gpu:
            return tensor
        here = self._room(tensor, type(self._device)(TVM_CPU, 0))
        tvm_function("TVMTensorCopyFromTo")(tensor, here)
        self._wait()
        return here

    def get_inputs(self) -> list[Any]:
        """Return the inputs, in order: their names, shapes and types."""
        return _named(self.signature["inputs"])

    def get_outputs(self) -> list[Any]:
        """Return the outputs likewise."""
        return _named(self.signature["outputs"])


def _aligned(item: Header) -> Any:
    """Return an array for an input where TVM's code may read it in whole vectors."""
    import numpy as np  # noqa: PLC0415 - told by `hello` where it is missing

    size = int(np.prod(item["shape"])) * np.dtype(item["dtype"]).itemsize
    room = np.zeros(size + ALIGNMENT_BYTES, np.uint8)
    first = -room.ctypes.data % ALIGNMENT_BYTES
    return room[first : first + size].view(item["dtype"]).reshape(item["shape"])
