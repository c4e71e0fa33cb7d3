"""Requests are checked before anything is done: what one holds is what it must hold, or it is refused."""

from __future__ import annotations

from .providers import CPU, PROVIDERS
from .wire import TYPES, Header, Refused


def whole(request: Header, name: str, least: int, most: int) -> int:
    """Return a field that must be a whole number."""
    value = request.get(name)
    if type(value) is not int or not least <= value <= most:
        raise Refused(f"'{name}' must be a whole number from {least} to {most}")
    return value


def threads(request: Header) -> int:
    """Return the threads of the processor."""
    return whole(request, "threads", 1, 1024)


def provider(request: Header) -> str:
    """Return what computes: the processor, if the request does not say."""
    name = request.get("provider", CPU)
    if name not in PROVIDERS:
        raise Refused(f"no provider {str(name)[:40]!r}; there are {', '.join(PROVIDERS)}")
    return str(name)


def feed(request: Header, blobs: list[bytes]) -> Header:
    """Return the inputs by name, checked against their descriptions."""
    import numpy as np  # noqa: PLC0415 - told by `hello` where it is missing

    described = request.get("feed")
    if not isinstance(described, list) or len(described) != len(blobs):
        raise Refused("'feed' must describe as many inputs as there are blobs")
    found: Header = {}
    for item, blob in zip(described, blobs):  # noqa: B905 - Python 3.9 has no `strict`
        if not isinstance(item, dict) or item.get("dtype") not in TYPES:
            raise Refused(f"an input must be of one of the types {', '.join(TYPES)}")
        try:
            found[str(item.get("name"))] = np.frombuffer(blob, item["dtype"]).reshape(item.get("shape")).copy()
        except (ValueError, TypeError):
            raise Refused(f"input '{item.get('name')}' has {len(blob)} bytes, which do not fit its shape") from None
    return found
