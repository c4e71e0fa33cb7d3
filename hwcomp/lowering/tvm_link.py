"""Object files become a shared library that says what it takes, gives and needs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwcomp.errors import LoweringError
from hwcomp.sparse_kernels.compilers import compiler_for

MARK, DIGITS = b"hwcomp-library/1", 12
"""End of a library, and the digits of the length of its signature before it; see `hwcomp.devices.agent.libraries`."""

COMPLAINTS = ("error: ", "undefined ", "cannot find ")

NATIVE = ("c++", "g++", "clang++", "gcc", "cc", "clang")


def linker(machine: str) -> str:
    """Return the path of a compiler that links for a machine, as ``platform.machine()`` names it.

    Raises:
        LoweringError: there is none; the sentence names the package that has it.
    """
    return compiler_for(machine, "Libraries", NATIVE)


def signed(library: bytes, signature: Mapping[str, Any], needs: Sequence[str]) -> bytes:
    """Return a library with its signature behind it, where the system's loader does not look.

    Args:
        library: the file.
        signature: "inputs" and "outputs": names, shapes and types, in order; and what else its user must know.
        needs: instructions of the processor, as the Linux kernel names them.
    """
    text = json.dumps({**signature, "isa": f"hwcomp-isa:{','.join(needs)};"}).encode()
    return library + text + f"{len(text):0{DIGITS}x}".encode() + MARK


def write_library(executable: Any, machine: str, objects: Sequence[bytes], folder: Path) -> bytes:
    """Return what TVM compiled as a shared library.

    Args:
        executable: that TVM compiled for the machine.
        machine: as ``platform.machine()`` names it.
        objects: object files with what it calls.
        folder: for files in between.

    Raises:
        LoweringError: there is no linker, or it fails.
    """
    from tvm.support import cc  # noqa: PLC0415 - heavy, and needed only where something is compiled

    compiler, library = linker(machine), folder / "model.so"
    paths = [folder / f"part{number}.o" for number in range(len(objects))]
    for path, content in zip(paths, objects, strict=True):
        path.write_bytes(content)
    try:
        executable.export_library(str(library), fcompile=cc.cross_compiler(compiler), addons=[str(p) for p in paths])
    except RuntimeError as error:
        raise LoweringError(f"{compiler} cannot link the network: {_reason(error)}") from error
    return library.read_bytes()


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if any(word in line for word in COMPLAINTS)]
    return (lines or str(error).strip().splitlines() or ["it gives no reason"])[0]
