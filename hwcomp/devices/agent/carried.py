"""The library of operators that a model carries at its end, and where libraries lie so that they can be loaded."""

from __future__ import annotations

import atexit
import base64
import hashlib
import os
import platform
import re
import shutil
import tempfile
import zlib
from pathlib import Path

from .processor import isa
from .wire import Refused, Source

KERNELS_MARK, MAX_KERNELS_BYTES = b"hwcomp-kernels/1", 2**26
"""End of a model that carries a library of operators."""

DIGITS = 12
"""Of the length that stands before a mark."""

ELF_MACHINES = {"x86_64": 62, "AMD64": 62, "aarch64": 183, "arm64": 183}
"""System V ABI, ``e_machine``."""

ELF_MAGIC = b"\x7fELF"

INSTALLED: dict[str, str] = {}
"""Libraries of operators that are there, by their hash; under the empty name, their folder."""


def kernels(source: Source) -> bytes | None:
    """Return the library that a model carries, None if there is none; only the end of the model is read."""
    try:
        text = ending(source, KERNELS_MARK)
        return None if text is None else zlib.decompress(base64.b64decode(text, validate=True))
    except (ValueError, zlib.error):
        raise Refused("the kernels inside the model are damaged") from None


def ending(source: Source, mark: bytes) -> bytes | None:
    """Return what stands at the end of a model, before its length in hexadecimal digits and a mark; None without it.

    Raises ValueError where the length is no number, or more than a model carries.
    """
    end = tail(source, DIGITS + len(mark))
    if not end.endswith(mark):
        return None
    length = int(end[:DIGITS], 16)
    return tail(source, length + len(end))[:length]


def tail(source: Source, count: int) -> bytes:
    """Return the last bytes of a model."""
    if count > MAX_KERNELS_BYTES:
        raise ValueError("too many bytes of kernels")
    if isinstance(source, bytes):
        return source[-count:]
    with Path(source).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - count))
        return file.read()


def installed(library: bytes) -> str:
    """Return the path of a library that may be loaded: in a folder of this process, which is removed at its end."""
    machine = platform.machine()
    if library[:4] != ELF_MAGIC or int.from_bytes(library[18:20], "little") != ELF_MACHINES.get(machine):
        raise Refused(f"the kernels inside the model are not for {machine}", "runtime")
    needs = re.search(rb"hwcomp-isa:([a-z0-9_,]*);", library)
    missing = set(needs.group(1).decode().split(",")) - {"", *isa()} if needs else set()
    if missing:
        raise Refused(f"the kernels inside the model need {', '.join(sorted(missing))}: not here", "runtime")
    digest = hashlib.sha256(library).hexdigest()
    if digest not in INSTALLED:
        if not INSTALLED:
            INSTALLED[""] = tempfile.mkdtemp(prefix="hwcomp-kernels-")  # only its owner may read and write it
            atexit.register(shutil.rmtree, INSTALLED[""], ignore_errors=True)
        path = Path(INSTALLED[""]) / f"{digest}.so"
        path.write_bytes(library)
        INSTALLED[digest] = str(path)
    return INSTALLED[digest]
