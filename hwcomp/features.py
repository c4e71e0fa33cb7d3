"""What is known of a kernel's speed before it runs: numbers that a regression can be fitted on.

Sizes enter by their logarithms, because a law of speed is a product of powers. Vector units and register tiles compute
whole blocks only, so beside every size stands how full its blocks are.
"""

import math
import re

from hwcomp.analysis import facts_of
from hwcomp.kernel import BOUNDARIES, Kernel
from hwcomp.scheme import kind_of_scheme
from hwcomp.work import PRODUCTS, channels_in, channels_out, moved_bytes, sizes_of

BLOCKS = (8, 16, 32, 64)
"""Channels that vector units and register tiles compute at once."""

ROW_BLOCKS = (4, 6, 14)
"""Pixels or rows of a matrix that a register tile holds."""

SIZES = ("macs", "inputs", "outputs", "weights", "rows", "inner", "columns", "window")
"""Features that say how large a kernel is; beyond those that were fitted, a prediction extrapolates."""

OTHERS = "other operators"
NUMBERS = re.compile(r"\d+")
CONSTANTS = 4
"""Numbers of a kernel's constants, such as the window of a pooling, that are looked at."""


def kind_of(kernel: Kernel) -> str:
    """Return the kind of work: kinds follow laws of their own."""
    window = kernel.window
    if window is None:
        return f"{kernel.op} {kernel.detail}" if kernel.detail.startswith("after ") else kernel.op
    if facts_of(kernel).depthwise:
        return "depthwise convolution"
    if window.groups > 1:
        return "grouped convolution"
    return "pointwise convolution" if math.prod(window.size) == 1 else "spatial convolution"


def family_of(kernel: Kernel) -> str:
    """Return the kind of a kernel and the scheme that it computes in: "linear int8"."""
    return f"{kind_of(kernel)} {kind_of_scheme(kernel.scheme)}"


def group_of(kernel: Kernel) -> str:
    """Return the kinds that what is left by their laws is learned together with."""
    if kernel.window is not None:
        return "convolution"
    if kernel.op in BOUNDARIES:
        return "conversion"
    return kernel.op if kernel.op == "linear" or kernel.op in PRODUCTS else OTHERS


def features_of(kernel: Kernel) -> dict[str, float]:
    """Return feature -> value; one that is not named is 0.

    Those with ":" in their name are 1 where a word of the description is what the name says.
    """
    facts, sizes, moved = facts_of(kernel), sizes_of(kernel), moved_bytes(kernel)
    least = min((math.prod(shape) for shape in kernel.inputs), default=1)
    numbers = {
        "macs": _log(facts.macs),
        "inputs": _log(facts.inputs),
        "outputs": _log(facts.outputs),
        "weights": _log(facts.weights),
        "bytes": _log(moved),
        "intensity": _log(facts.macs) - _log(moved),
        "groups": _log(sizes.groups),
        "rows": _log(sizes.rows),
        "inner": _log(sizes.inner),
        "columns": _log(sizes.columns),
        "side": _log(sizes.side),
        "tensors": float(len(kernel.inputs)),
        "broadcast": _log(least) - _log(facts.outputs),
    }
    for block in BLOCKS:
        numbers[f"inputs fill {block}"] = _fill(channels_in(kernel), block)
        numbers[f"outputs fill {block}"] = _fill(channels_out(kernel), block)
    for block in ROW_BLOCKS:
        numbers[f"rows fill {block}"] = _fill(sizes.rows, block)
        numbers[f"side fills {block}"] = _fill(sizes.side, block)
    return numbers | _constants(kernel) | _words(kernel)


def _constants(kernel: Kernel) -> dict[str, float]:
    window = kernel.window
    if window is None:
        found = [float(number) for number in NUMBERS.findall(kernel.detail)[:CONSTANTS]]
        return {f"constant {index}": number for index, number in enumerate(found)}
    image = kernel.inputs[0][-len(window.size) :]
    return {
        "window": _log(math.prod(window.size)),
        "stride": _log(math.prod(window.stride)),
        "dilation": _log(math.prod(window.dilation)),
        "border": sum(2 * pad / (2 * pad + size) for pad, size in zip(window.padding, image, strict=True)),
    }


def _words(kernel: Kernel) -> dict[str, float]:
    words = {"op": kernel.op, "kind": kind_of(kernel), "scheme": kind_of_scheme(kernel.scheme), "tail": kernel.tail}
    if kernel.op in BOUNDARIES:  # "conv2d>add+conv2d": who makes the tensor, and who reads it
        maker, _, readers = kernel.detail.partition(">")
        words |= {"maker": maker} | {f"reader {reader}": "yes" for reader in readers.split("+")}
    return {f"{name}:{word}": 1.0 for name, word in words.items()}


def _fill(size: int, block: int) -> float:
    """Return how full the blocks are that hold a size: 1 for a multiple."""
    return size / (math.ceil(size / block) * block) if size > 0 else 1.0


def _log(size: float) -> float:
    return math.log2(max(1.0, size))
