"""Bit operations of a network whose bit widths are drawn, as a differentiable function of the probabilities."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwcomp.bit_operations import IMAGE_BITS, Layer
from hwcomp.errors import InputError

Runs = tuple[tuple[int, int], ...]
"""How many neighbours belong to which draw, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnBits:
    """Neighbouring filters, or channels, that share one bit width, which is drawn.

    Attributes:
        count: how many filters or channels.
        bits: the candidates, (K,).
        probabilities: of the candidates, (K,).
    """

    count: int
    bits: tuple[int, ...]
    probabilities: Tensor


def expected_bit_operations(
    layers: Sequence[Layer],
    weight_bits: Mapping[str, Sequence[DrawnBits]],
    activation_bits: Mapping[str, Sequence[DrawnBits]],
    image_bits: int = IMAGE_BITS,
) -> Tensor:
    r"""Return the mean of `hwcomp.bit_operations.bit_operations` over independent draws, float64.

    .. math:: \mathbb{E}[\mathrm{BOPs}] = H W \sum_o \Bigl[ k^2 (\mathbb{E}[b_o] - 1) \sum_i \mathbb{E}[a_i]
        + (k^2 |I_o| - 1) \sum_{b, v} P(b_o = b)\, P(V = v) \bigl\lceil \log_2 ( k^2 (2^{b - 1} - 1)\, v )
        \bigr\rceil \Bigr], \quad V = \sum_i (2^{a_i} - 1)

    It is exact: P(V) is built draw by draw, equal sums joined. The number of sums grows with the number of draws among
    the channels that a layer reads; a few are meant, not one for every channel. Where one choice decides weights and
    activations of a layer together they are not independent: weight the counts of each candidate, from
    `hwcomp.bit_operations.bit_operations_by_layer`, with its probability instead.

    Args:
        layers: see `hwcomp.bit_operations.layers_of`.
        weight_bits: layer -> its filters, in order.
        activation_bits: layer -> the channels that it reads, in order; not asked for layers that read the image.
        image_bits: of each channel of an input of the network.

    Raises:
        InputError: a layer is missing, has too few bits, or counts do not add up to its filters or channels.
    """
    total = torch.zeros((), dtype=torch.float64)
    for layer in layers:
        weights = _draws(layer.name, weight_bits)
        _check(layer, "filters", layer.outputs, 2, weights)
        read = _image(layer, image_bits, weights) if layer.reads_image else _draws(layer.name, activation_bits)
        _check(layer, "channels", layer.inputs, 1, read)
        total = total + _of_layer(layer, weights, read).to(total.device)
    return total


def _image(layer: Layer, bits: int, weights: Sequence[DrawnBits]) -> list[DrawnBits]:
    """Return the channels of an image, which are not drawn."""
    return [DrawnBits(count=layer.inputs, bits=(bits,), probabilities=weights[0].probabilities.new_ones(1))]


def _of_layer(layer: Layer, weights: Sequence[DrawnBits], read: Sequence[DrawnBits]) -> Tensor:
    filters, channels = layer.outputs // layer.groups, layer.inputs // layer.groups
    # groups of a depthwise layer that make and read the same are counted once
    alike = Counter(
        (_runs(weights, group * filters, filters), _runs(read, group * channels, channels))
        for group in range(layer.groups)
    )
    parts = [
        times * _of_group(layer, [(n, weights[i]) for n, i in made], [(n, read[i]) for n, i in seen])
        for (made, seen), times in alike.items()
    ]
    return layer.positions * torch.stack(parts).sum()


def _of_group(layer: Layer, weights: Sequence[tuple[int, DrawnBits]], read: Sequence[tuple[int, DrawnBits]]) -> Tensor:
    """Return the mean for one output per filter of a group of channels."""
    bits_read = torch.stack([count * (_chances(draw) @ _each(draw, lambda a: a)) for count, draw in read]).sum()
    sums, chances = _sums(read)
    terms = layer.window * layer.inputs // layer.groups
    parts = []
    for count, draw in weights:
        products = layer.window * (_chances(draw) @ _each(draw, lambda b: b - 1)) * bits_read
        largest = layer.window * _each(draw, lambda b: 2 ** (b - 1) - 1)[:, None] * sums
        accumulator = _chances(draw) @ _ceil_log2(largest) @ chances
        parts.append(count * (products + (terms - 1) * accumulator))
    return torch.stack(parts).sum()


def _sums(read: Sequence[tuple[int, DrawnBits]]) -> tuple[Tensor, Tensor]:
    """Return the values that the largest sum of activations may take, (M,), and their probabilities, (M,)."""
    values = torch.zeros(1, dtype=torch.float64, device=read[0][1].probabilities.device)
    chances = torch.ones_like(values)
    for count, draw in read:
        values = (values[:, None] + count * _each(draw, lambda a: 2**a - 1)).flatten()
        joint = (chances[:, None] * _chances(draw)).flatten()
        values, where = torch.unique(values, return_inverse=True)
        chances = torch.zeros_like(values).index_add(0, where, joint)
    return values, chances


def _ceil_log2(values: Tensor) -> Tensor:
    """Return the logarithm, rounded up exactly: a number is m x 2^e with m from 1/2 to below 1."""
    mantissa, exponent = torch.frexp(values)
    return exponent.to(values.dtype) - (mantissa == 0.5).to(values.dtype)


def _each(draw: DrawnBits, function: Callable[[int], int]) -> Tensor:
    """Return a function of each candidate, computed exactly, (K,)."""
    values = [function(bits) for bits in draw.bits]
    return torch.tensor(values, dtype=torch.float64, device=draw.probabilities.device)


def _chances(draw: DrawnBits) -> Tensor:
    return draw.probabilities.to(torch.float64)


def _runs(draws: Sequence[DrawnBits], start: int, count: int) -> Runs:
    """Return which draws some neighbours belong to, and how many of them to each."""
    found, begin = [], 0
    for index, draw in enumerate(draws):
        overlap = min(begin + draw.count, start + count) - max(begin, start)
        if overlap > 0:
            found.append((overlap, index))
        begin += draw.count
    return tuple(found)


def _draws(name: str, bits: Mapping[str, Sequence[DrawnBits]]) -> Sequence[DrawnBits]:
    if name not in bits:
        raise InputError(f"There are no bits for layer '{name}'; name every layer.")
    return bits[name]


def _check(layer: Layer, what: str, count: int, least: int, draws: Sequence[DrawnBits]) -> None:
    found = sum(draw.count for draw in draws)
    if found != count:
        raise InputError(f"The draws of layer '{layer.name}' are for {found} {what}; it has {count}.")
    fewest = min(min(draw.bits) for draw in draws)
    if fewest < least:
        raise InputError(f"The {what} of layer '{layer.name}' have {fewest} bits; the formula needs {least} or more.")
