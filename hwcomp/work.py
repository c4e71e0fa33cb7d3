"""Sums of work that a kernel's time may be a mixture of; runtimes compute whole blocks at a time."""

import math
from dataclasses import dataclass

from hwcomp.analysis import facts_of
from hwcomp.kernel import BOUNDARIES, Kernel
from hwcomp.scheme import FLOAT, FLOAT16, QUANTS, reads_integers, writes_integers

PRODUCTS = frozenset({"matmul", "bmm", "attention"})
FLOAT_BYTES = 4.0

TILES = ((1, 16), (1, 64), (6, 32))
"""Rows and columns of the blocks that matrices are cut into: vectors of different length, and a register tile."""

VECTOR = 16
"""Channels of a blocked memory layout."""

TERMS = 9 + len(TILES) + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """A kernel as products of matrices, (rows, inner) x (inner, columns), once for each of some groups.

    Attributes:
        groups: of channels, or the batch of a product.
        rows: pixels, tokens or rows of the output.
        inner: numbers that are added up for one output.
        columns: output channels of a group.
        side: length of the last axis of the output.
    """

    groups: int
    rows: int
    inner: int
    columns: int
    side: int


def sizes_of(kernel: Kernel) -> Sizes:
    """Return a kernel's sizes; of one that is no product, its rows and channels."""
    output = kernel.output or (1,)
    groups, inner = 1, channels_in(kernel)
    if kernel.op in PRODUCTS and len(kernel.inputs) > 1 and len(output) > 1:
        inner = kernel.inputs[1][-2] if kernel.op == "attention" else kernel.inputs[0][-1]
        groups = math.prod(output[:-2])
        return Sizes(groups=groups, rows=output[-2], inner=inner, columns=output[-1], side=output[-1])
    if kernel.window is not None:
        groups = kernel.window.groups
        inner = channels_in(kernel) // groups * math.prod(kernel.window.size)
    channels = channels_out(kernel)
    rows = math.prod(output) // max(1, channels)
    return Sizes(groups=groups, rows=rows, inner=inner, columns=channels // groups, side=output[-1])


def work_of(kernel: Kernel) -> tuple[float, ...]:
    """Return the `TERMS` sums of work of a kernel, the first of them 1: that it runs at all."""
    facts, sizes = facts_of(kernel), sizes_of(kernel)
    area = math.prod(kernel.window.size) if kernel.window is not None else 1
    blocked = _up(channels_in(kernel), VECTOR) * _up(channels_out(kernel), VECTOR) / sizes.groups
    tiled = (
        sizes.groups * _up(sizes.rows, rows) * sizes.inner * _up(sizes.columns, columns) for rows, columns in TILES
    )
    return (
        1.0,
        float(facts.macs),
        *map(float, tiled),
        float(sizes.rows * area * blocked),
        float(sizes.rows * area * channels_in(kernel)),
        float(facts.inputs),
        float(facts.outputs),
        float(facts.weights),
        moved_bytes(kernel),
        float(sizes.rows),
        float(sizes.rows * sizes.inner),
    )


def moved_bytes(kernel: Kernel) -> float:
    """Return the bytes that a kernel must read and write, at least."""
    facts = facts_of(kernel)
    if kernel.op in BOUNDARIES:
        narrow_bytes = 2.0 if kernel.scheme == FLOAT16.name else 1.0
        return (FLOAT_BYTES + narrow_bytes) * facts.outputs
    if kernel.scheme not in QUANTS or kernel.scheme == FLOAT:
        return FLOAT_BYTES * (facts.weights + facts.inputs + facts.outputs)
    bits = QUANTS[kernel.scheme].weight_bits
    weight_bytes = FLOAT_BYTES if bits is None else bits / 8
    narrow_bytes = (QUANTS[kernel.scheme].activation_bits or 8) / 8
    input_bytes = narrow_bytes if reads_integers(kernel.scheme) else FLOAT_BYTES
    output_bytes = narrow_bytes if writes_integers(kernel.scheme) else FLOAT_BYTES
    return facts.weights * weight_bytes + facts.inputs * input_bytes + facts.outputs * output_bytes


def channels_in(kernel: Kernel) -> int:
    """Return the channels of the first input: before the image's axes, or the last axis."""
    return _channels(kernel, kernel.inputs[0]) if kernel.inputs else 1


def channels_out(kernel: Kernel) -> int:
    """Return the channels of the output, likewise; 1 where it is not one tensor."""
    return _channels(kernel, kernel.output or ())


def _channels(kernel: Kernel, shape: tuple[int, ...]) -> int:
    if kernel.window is not None:
        return shape[-1 - len(kernel.window.size)]
    if not shape:
        return 1
    return shape[1] if len(shape) == 4 else shape[-1]


def _up(size: int, block: int) -> int:
    return -(-size // block) * block
