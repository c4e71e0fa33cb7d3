"""How many operations on single bits the convolutions of a network are: a cost that knows no hardware."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hwcomp.errors import InputError
from hwcomp.kernel import Kernel
from hwcomp.kernels import kernels_of
from hwcomp.program import Program

COUNTED = frozenset({"conv1d", "conv2d"})
"""What the literature counts."""

IMAGE_BITS = 8
"""Of each channel of what the network reads."""

Bits = int | Sequence[int]
"""One bit width for all channels or filters of a layer, or one for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """The shape of a convolution, as far as bit operations depend on it; a linear layer is one with a window of 1.

    Attributes:
        name: of its node.
        inputs: channels that it reads.
        outputs: filters.
        window: products per pair of channel and filter and per output: k x k.
        positions: outputs per filter, for the batch of the example inputs.
        groups: of channels; a filter reads those of its own group alone.
        reads_image: whether it reads an input of the network.
    """

    name: str
    inputs: int
    outputs: int
    window: int
    positions: int
    groups: int = 1
    reads_image: bool = False


def layers_of(program: Program, ops: Collection[str] = COUNTED) -> tuple[Layer, ...]:
    """Return the shapes of a program's nodes of the given kinds: conv1d, conv2d, linear."""
    kernels = kernels_of(program, activation="").sites
    found = []
    for node in program.nodes:
        kernel = next(iter(kernels[node.name].values())) if node.name in kernels else None
        if kernel is not None and kernel.op in ops:
            found.append(_layer(node.name, kernel, reads_image=node.all_input_nodes[0].op == "placeholder"))
    return tuple(found)


def bit_operations(
    layers: Sequence[Layer],
    weight_bits: Bits | Mapping[str, Bits],
    activation_bits: Bits | Mapping[str, Bits],
    image_bits: int = IMAGE_BITS,
) -> int:
    """Return the bit operations of all layers together, see `bit_operations_by_layer`."""
    return sum(bit_operations_by_layer(layers, weight_bits, activation_bits, image_bits).values())


def bit_operations_by_layer(
    layers: Sequence[Layer],
    weight_bits: Bits | Mapping[str, Bits],
    activation_bits: Bits | Mapping[str, Bits],
    image_bits: int = IMAGE_BITS,
) -> dict[str, int]:
    r"""Return the bit operations of each layer: products bit by bit, and sums in an accumulator that cannot overflow.

    .. math:: \mathrm{BOPs} = H W \sum_o \Bigl[ k^2 (b_o - 1) \sum_{i \in I_o} a_i + (k^2 |I_o| - 1)
        \Bigl\lceil \log_2 \Bigl( k^2 (2^{b_o - 1} - 1) \sum_{i \in I_o} (2^{a_i} - 1) \Bigr) \Bigr\rceil \Bigr]

    H x W outputs per filter, :math:`b_o` bits of filter o with its sign, :math:`a_i` bits of channel i without one.
    :math:`I_o` are the channels that filter o reads: with g groups the C / g of its own group, so a depthwise filter
    reads one. Every convolution counts: the first, whose input has ``image_bits`` per channel whatever
    ``activation_bits`` says, and those of projected shortcuts; linear layers do not, unless they are among the layers.
    Bias, normalisation, additions of shortcuts and pooling do not. Source: [Zur2019]_, Towards learning of filter-level
    heterogeneous compression of convolutional neural networks; groups are ours.

    Args:
        layers: see `layers_of`.
        weight_bits: of every layer, or by name; per filter, or one number; 2 or more.
        activation_bits: of what every layer reads, or by name; per channel, or one number.
        image_bits: of what layers read that read an input of the network.

    Raises:
        InputError: bits are missing, too few, or not as many as there are filters or channels.
    """
    counted = {}
    for layer in layers:
        weights = _each(layer, "weights", layer.outputs, 2, weight_bits)
        read = image_bits if layer.reads_image else activation_bits
        counted[layer.name] = _count(layer, weights, _each(layer, "activations", layer.inputs, 1, read))
    return counted


def _count(layer: Layer, weights: Sequence[int], activations: Sequence[int]) -> int:
    filters, channels = layer.outputs // layer.groups, layer.inputs // layer.groups
    total = 0
    for group in range(layer.groups):
        read = activations[group * channels : (group + 1) * channels]
        largest = layer.window * sum(2**bits - 1 for bits in read)
        for bits, count in Counter(weights[group * filters : (group + 1) * filters]).items():
            accumulator = ((2 ** (bits - 1) - 1) * largest - 1).bit_length()
            products = layer.window * (bits - 1) * sum(read)
            total += count * (products + (layer.window * channels - 1) * accumulator)
    return layer.positions * total


def _each(layer: Layer, what: str, count: int, least: int, bits: Bits | Mapping[str, Bits]) -> tuple[int, ...]:
    """Return one bit width per channel or filter."""
    if isinstance(bits, Mapping):
        if layer.name not in bits:
            raise InputError(f"There are no bits for the {what} of '{layer.name}'; name every layer.")
        bits = bits[layer.name]
    each = (bits,) * count if isinstance(bits, int) else tuple(bits)
    if len(each) != count:
        raise InputError(f"The {what} of '{layer.name}' have {len(each)} bit widths; give one, or {count}.")
    if min(each) < least:
        raise InputError(f"The {what} of '{layer.name}' have {min(each)} bits; the formula needs {least} or more.")
    return each


def _layer(name: str, kernel: Kernel, *, reads_image: bool) -> Layer:
    assert kernel.output is not None
    window = kernel.window
    axis = -1 if window is None else -1 - len(window.size)
    return Layer(
        name=name,
        inputs=kernel.inputs[0][axis],
        outputs=kernel.output[axis],
        window=1 if window is None else math.prod(window.size),
        positions=kernel.elements // kernel.output[axis],
        groups=1 if window is None else window.groups,
        reads_image=reads_image,
    )
