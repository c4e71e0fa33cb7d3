"""Messages: a header in JSON, and blobs; how they are written and read, and what is no message."""

from __future__ import annotations

import json
from typing import Any, BinaryIO, Union

PROTOCOL = 1
MAX_HEADER_BYTES, MAX_BLOB_BYTES, MAX_BLOBS = 2**24, 2**31, 1024
TYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)
"""Of arrays that travel."""

Header = dict[str, Any]
Source = Union[bytes, str]  # noqa: UP007 - Python 3.9 has no `|` for types
"""A model: its content, or the path of a file with it."""

Answer = tuple[Header, list[bytes]]


class Refused(Exception):  # noqa: N818 - an answer, not a defect
    """A request that is not carried out.

    Attributes:
        kind: "input" for a wrong request or model, "missing" for a model that was not sent, "prerequisite" and "gpu"
            for what the device lacks, "memory" for what does not fit there, "runtime" for the rest.
    """

    def __init__(self, message: str, kind: str = "input") -> None:
        super().__init__(message)
        self.kind = kind


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def pack(header: Header, blobs: list[bytes]) -> bytes:
    """Return the beginning of a message: everything before the blobs."""
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    return len(text).to_bytes(4, "big") + text


def header_bytes(prefix: bytes) -> int:
    """Return the length of a header, refusing what is too long to be one."""
    size = int.from_bytes(prefix, "big")
    if not 2 <= size <= MAX_HEADER_BYTES:
        raise Refused(f"a header of {size} bytes, where 2 to {MAX_HEADER_BYTES} are allowed")
    return size


def parse_header(text: bytes) -> tuple[Header, list[int]]:
    """Return a header and the lengths of the blobs behind it."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("a header that is not JSON") from None
    sizes = header.get("blobs", []) if isinstance(header, dict) else None
    if not isinstance(sizes, list) or len(sizes) > MAX_BLOBS:
        raise Refused("a header that is no object, or whose list of blobs is wrong")
    if not all(type(size) is int and 0 <= size <= MAX_BLOB_BYTES for size in sizes):
        raise Refused(f"a blob that is not of 0 to {MAX_BLOB_BYTES} bytes")
    return header, sizes


def read_message(stream: BinaryIO) -> Answer | None:
    """Return the next request, None at the end."""
    prefix = stream.read(4)
    if len(prefix) < 4:
        return None
    header, sizes = parse_header(stream.read(header_bytes(prefix)))
    blobs = [stream.read(size) for size in sizes]
    return None if [len(blob) for blob in blobs] != sizes else (header, blobs)
