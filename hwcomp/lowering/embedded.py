"""The library of operators that a model needs travels inside the model's own bytes.

It is an entry of the model's metadata that is appended to the file, see `hwcomp.lowering.metadata`. The entry's value
ends with its own length and a mark: the end of a file tells whether there is a library, and where.
`hwcomp.devices.agent.carried` reads the same, by itself.
"""

import atexit
import base64
import binascii
import hashlib
import platform
import re
import shutil
import tempfile
import zlib
from functools import cache
from pathlib import Path

from hwcomp.errors import LoweringError
from hwcomp.lowering.metadata import with_entry

KEY = b"hwcomp.kernels"
MARK = b"hwcomp-kernels/1"
LENGTH_DIGITS = 12
MAX_BYTES = 2**26
ELF_MACHINES = {"x86_64": 62, "AMD64": 62, "aarch64": 183, "arm64": 183}
"""System V ABI, ``e_machine``."""


def embed(model: bytes, library: bytes) -> bytes:
    """Return a model that carries a library.

    Raises:
        ValueError: it carries one already.
    """
    if model.endswith(MARK):
        raise ValueError("The model carries kernels already")
    text = base64.b64encode(zlib.compress(library, 9))
    value = text + f"{len(text):0{LENGTH_DIGITS}x}".encode() + MARK
    return with_entry(model, KEY, value)


def extract(model: bytes | Path) -> bytes | None:
    """Return the library that a model carries, None if there is none; only the end of the model is read.

    Raises:
        LoweringError: there is one, and it is damaged.
    """
    end = _tail(model, LENGTH_DIGITS + len(MARK))
    if not end.endswith(MARK):
        return None
    try:
        length = int(end[:LENGTH_DIGITS], 16)
        text = _tail(model, length + len(end))[:length]
        return zlib.decompress(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error, zlib.error) as error:
        raise LoweringError("The kernels inside the model are damaged; compile the model again.") from error


def _tail(model: bytes | Path, count: int) -> bytes:
    if count > MAX_BYTES:
        raise ValueError(f"{count} bytes of kernels")
    if isinstance(model, bytes):
        return model[-count:]
    with model.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - count))
        return file.read()


def installed(library: bytes) -> Path:
    """Return the path of a library that may be loaded: in a folder of this process, which is removed at its end.

    Raises:
        LoweringError: it is for another machine, or this processor lacks instructions that it uses.
    """
    _check_machine(library)
    path = _folder() / f"{hashlib.sha256(library).hexdigest()}.so"
    if not path.is_file():
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(library)
        Path(file.name).replace(path)
    return path


@cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="hwcomp-kernels-")  # only its owner may read and write it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _check_machine(library: bytes) -> None:
    machine = platform.machine()
    if library[:4] != b"\x7fELF" or int.from_bytes(library[18:20], "little") != ELF_MACHINES.get(machine):
        raise LoweringError(f"The kernels inside the model are not for {machine}; compile it for this target.")
    needs = re.search(rb"hwcomp-isa:([a-z0-9_,]*);", library)
    missing = set(needs.group(1).decode().split(",")) - {""} - _instructions() if needs else set()
    if missing:
        raise LoweringError(
            f"The kernels inside the model need {', '.join(sorted(missing))}, which this processor does not have; "
            "compile it for this target."
        )


@cache
def _instructions() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()
