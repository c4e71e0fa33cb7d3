"""Object files become a shared library that says what it takes, gives and needs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwcomp.errors import LoweringError
from hwcomp.sparse_kernels.compilers import compiler_for
from hwcomp.sparse_kernels.library import NEEDS
from hwcomp.sparse_kernels.tir_build import Vectors

MARK, DIGITS = b"hwcomp-library/1", 12
"""End of a library, and the digits of the length of its signature before it; see ``hwcomp/devices/agent.py``."""

COMPLAINTS = ("error: ", "undefined ", "cannot find ")

NATIVE = ("c++", "g++", "clang++", "gcc", "cc", "clang")


def linker(vectors: Vectors) -> str:
    """Return the path of a compiler that links for a machine.

    Raises:
        LoweringError: there is none; the sentence names the package that has it.
    """
    return compiler_for(vectors.triple.partition("-")[0], "Libraries", NATIVE)


def signed(library: bytes, signature: Mapping[str, Sequence[Mapping[str, Any]]], vectors: Vectors) -> bytes:
    """Return a library with its signature behind it, where the system's loader does not look.

    Args:
        library: the file.
        signature: "inputs" and "outputs": names, shapes and types, in order.
        vectors: that it was compiled for.
    """
    needs = ",".join(NEEDS.get(vectors.cpu, sorted(vectors.flags)))
    text = json.dumps({**signature, "isa": f"hwcomp-isa:{needs};"}).encode()
    return library + text + f"{len(text):0{DIGITS}x}".encode() + MARK


def write_library(executable: Any, tiles: bytes, vectors: Vectors, folder: Path) -> bytes:
    """Return what TVM compiled as a shared library.

    Raises:
        LoweringError: there is no linker, or it fails.
    """
    from tvm.support import cc  # noqa: PLC0415 - heavy, and needed only where something is compiled

    compiler = linker(vectors)
    objects, library = folder / "tiles.o", folder / "model.so"
    objects.write_bytes(tiles)
    try:
        executable.export_library(str(library), fcompile=cc.cross_compiler(compiler), addons=[str(objects)])
    except RuntimeError as error:
        raise LoweringError(f"{compiler} cannot link the network: {_reason(error)}") from error
    return library.read_bytes()


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if any(word in line for word in COMPLAINTS)]
    return (lines or str(error).strip().splitlines() or ["it gives no reason"])[0]
