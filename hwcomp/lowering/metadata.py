"""An entry of metadata at the end of an ONNX file, without parsing it.

Messages of Protocol Buffers that are written one after the other are read as one whose repeated fields are joined
(Protocol Buffers documentation, "Encoding"), so the model itself is not changed, and who knows the entry finds it by
the end of the file.
"""

from typing import Protocol

WISHES_KEY = b"hwcomp.wishes"

METADATA_FIELD, KEY_FIELD, VALUE_FIELD = 14, 1, 2
"""In ``ModelProto``, and in ``StringStringEntryProto`` (onnx.proto)."""


def with_entry(model: bytes, key: bytes, value: bytes) -> bytes:
    """Return a model that ends with an entry."""
    return model + _field(METADATA_FIELD, _field(KEY_FIELD, key) + _field(VALUE_FIELD, value))


class Wishing(Protocol):
    """What `hwcomp.devices.agent.wishes` writes."""

    def written(self) -> bytes:
        """Return what stands at the end of the model."""


def with_wishes(model: bytes, wishes: Wishing) -> bytes:
    """Return a model that says how it is to be run on a GPU."""
    return with_entry(model, WISHES_KEY, wishes.written())


def without_wishes(model: bytes, wishes: Wishing) -> bytes:
    """Return a model as it was before `with_wishes`."""
    return model.removesuffix(with_wishes(b"", wishes))


def _field(number: int, content: bytes) -> bytes:
    """Return a field of bytes, as Protocol Buffers writes it."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])
