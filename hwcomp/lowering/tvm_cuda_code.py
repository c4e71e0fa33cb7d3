"""Machine code of a GPU in the place of CUDA source, inside what TVM exports.

TVM compiles CUDA only where its runtime for GPUs is loaded, for which a driver must be there; elsewhere it exports the
source, to be compiled where it is loaded. So the source is taken out when TVM has written it, compiled here, and its
machine code put where the source was.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hwcomp.errors import LoweringError
from hwcomp.lowering.tvm_cuda_nvcc import cubin

HOOK = "tvm_callback_cuda_postproc"
"""What TVM asks for changes of the source of a module's kernels."""

WITHOUT_RUNTIME = "TVM_COMPILE_FORCE_FALLBACK"
"""Variable that makes TVM export what the hook gives, wherever it runs."""

SOURCE, CODE = b"cuda", b"cubin"
"""How TVM marks a module of source, and one of machine code."""

WIDTH = 8
"""Bytes of a length before what it is the length of, the lowest first."""


class Kernels:
    """The kernels of one module, once TVM has written them.

    Attributes:
        compute: architecture that they are compiled for.
        code: machine code; None before.
        error: what nvcc said against it: TVM passes on a text with the whole source in it.
    """

    def __init__(self, compute: str) -> None:
        self.compute = compute
        self.code: bytes | None = None
        self.error: LoweringError | None = None

    def taken(self, source: str) -> str:
        """Compile a source and return what stands in its place until `put_into`."""
        try:
            self.code = cubin(source, self.compute)
        except LoweringError as error:
            self.error = error
            raise
        return self._place().decode()

    def put_into(self, library: bytes) -> bytes:
        """Return a library with the machine code in it.

        A module is the length and name of its format, a table of functions, the length of its code and the code. The
        name of the format of machine code is one byte longer, so what stands in its place is one byte longer than the
        code, and nothing behind it moves.

        Raises:
            LoweringError: the library is not as this version of TVM writes it.
        """
        if self.code is None:
            return library
        place, head = self._place(), _sized(SOURCE)
        found = library.find(place)
        start = library.rfind(head, 0, found)
        table = library[start + len(head) : found - WIDTH]
        if found < 0 or start < 0 or library[found - WIDTH : found] != len(place).to_bytes(WIDTH, "little"):
            raise LoweringError("This version of TVM writes libraries in another way: install apache-tvm 0.27.")
        return library[:start] + _sized(CODE) + table + _sized(self.code) + library[found + len(place) :]

    def _place(self) -> bytes:
        assert self.code is not None
        length = len(self.code) + len(CODE) - len(SOURCE)
        return f"// hwcomp: machine code for {self.compute}".encode().ljust(length, b"/")


def _sized(content: bytes) -> bytes:
    return len(content).to_bytes(WIDTH, "little") + content


@contextmanager
def kernels_for(compute: str) -> Iterator[Kernels]:
    """Compile what TVM writes for GPUs while the context lasts for one architecture."""
    import tvm_ffi  # noqa: PLC0415 - needed only where something is compiled

    kernels, before = Kernels(compute), os.environ.get(WITHOUT_RUNTIME)
    tvm_ffi.register_global_func(HOOK, lambda source, _target: kernels.taken(source), override=True)
    os.environ[WITHOUT_RUNTIME] = "1"
    try:
        yield kernels
    finally:
        tvm_ffi.remove_global_func(HOOK)
        if before is None:
            del os.environ[WITHOUT_RUNTIME]
        else:
            os.environ[WITHOUT_RUNTIME] = before
