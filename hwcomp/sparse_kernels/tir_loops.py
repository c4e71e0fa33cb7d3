"""Which loops of a kernel are divided between threads."""

from typing import Any

from tvm.script import tirx as T  # noqa: N812 - as everywhere in TVM

MIN_PRODUCTS = 1 << 17
"""Multiplications below which waking threads takes longer than the work: it takes some microseconds."""

PRODUCTS_PER_COPY = 4
"""Multiplications that are done while a float is read and written."""


def outer(products: int) -> Any:
    """Return the kind of a kernel's outer loop, by how many multiplications there are in all rounds of it."""
    return T.parallel if products >= MIN_PRODUCTS else T.serial


def outer_copy(floats: int) -> Any:
    """Return the kind of the outer loop of a copy of so many floats."""
    return outer(floats * PRODUCTS_PER_COPY)
