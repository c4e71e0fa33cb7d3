"""A device that is like another must be predicted from a few measurements, with its true error."""

import math
import random

import pytest

from hwcomp.errors import InputError
from hwcomp.kernel import Kernel, Window
from hwcomp.store import KernelRow
from hwcomp.transfer import choose, transfer

SCHEMES = ("float", "int8", "weight8")
FEW = 20


def kernel(op: str, channels: int, side: int, scheme: str) -> Kernel:
    shape = (1, channels, side, side)
    window = Window(size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1) if op == "conv2d" else None
    if op == "linear":
        return Kernel(op=op, scheme=scheme, inputs=((side, channels),), output=(side, 2 * channels))
    return Kernel(op=op, scheme=scheme, inputs=(shape,), output=shape, window=window)


KERNELS = [
    kernel(op, channels, side, scheme)
    for op in ("conv2d", "linear", "sigmoid")
    for channels in (8, 24, 64, 200, 512)
    for side in (4, 14, 28, 56)
    for scheme in SCHEMES
]
CONVERSIONS = [kernel("quantize", channels, 14, "uint8") for channels in (8, 64, 512)]


def known_us(kernel: Kernel) -> float:
    """A device: cheap activations, dear convolutions."""
    dear = {"conv2d": 100, "linear": 10}.get(kernel.op, 1)
    return 2.0 + dear * kernel.elements / 1000 / (3 if kernel.scheme == "int8" else 1)


def measure(kernels: list[Kernel], factor: dict[str, float], noise: float = 0.0, seed: int = 0) -> list[KernelRow]:
    """Rows of a device that is slower by a factor for each operator and scheme."""
    draw, rows = random.Random(seed), []
    for one in kernels:
        us = other_us(one, factor) * draw.lognormvariate(0, noise)
        rows.append(
            KernelRow(kernel=one.key, method="alone", median_us=us, p10_us=us, p90_us=us, runs=3, date="2026-01-01",
                      provenance="measured")
        )  # fmt: skip
    return rows


def other_us(one: Kernel, factor: dict[str, float]) -> float:
    return known_us(one) * factor.get("", 1) * factor.get(one.op, 1) * factor.get(one.scheme, 1)


def errors(predicted, factor: dict[str, float]) -> list[float]:
    return sorted(abs(math.log(predicted.predict_us(one) / other_us(one, factor))) for one in KERNELS)


def test_a_device_of_another_clock_is_recovered_exactly() -> None:
    factor = {"": 3.7}
    few = transfer(known_us, measure(choose(KERNELS, FEW), factor))
    assert errors(few, factor)[-1] < 1e-5
    assert few.error < 1e-5
    assert few.samples == FEW


def test_a_device_without_fast_integers_is_recovered_nearly() -> None:
    """Every scheme and operator has a factor of its own, and the times are noisy; the error that is stated is true."""
    factor = {"": 2.5, "int8": 2.8, "weight8": 0.7, "conv2d": 1.4, "linear": 0.8}
    few = transfer(known_us, measure(choose(KERNELS, FEW), factor, noise=0.05))
    found = errors(few, factor)
    assert found[len(found) // 2] < 0.08
    assert found[int(0.9 * len(found))] < 0.2
    assert 0.02 < few.error < 0.3


def test_noise_of_single_measurements_is_averaged() -> None:
    """The devices differ by one factor alone, so no kind keeps what noise says of it."""
    factor = {"": 2.0}
    few = transfer(known_us, measure(choose(KERNELS, FEW), factor, noise=0.3))
    found = errors(few, factor)
    assert found[int(0.9 * len(found))] < 0.2
    assert 0.1 < few.error < 0.6


def test_kernels_to_measure_are_unlike_each_other() -> None:
    """All operators in all schemes, small and large ones; no conversions, which cannot be measured alone."""
    chosen = choose([*KERNELS, *CONVERSIONS, *KERNELS], FEW)
    assert len({one.key for one in chosen}) == FEW
    assert {(one.op, one.scheme) for one in chosen} == {(one.op, one.scheme) for one in KERNELS}
    sizes = [one.elements for one in chosen]
    assert max(sizes) / min(sizes) > 100
    assert choose(CONVERSIONS, FEW) == []
    assert choose(KERNELS[:5], FEW) == KERNELS[:5]


def test_too_little_is_refused() -> None:
    with pytest.raises(InputError, match="at least 4 measurements on this one, found 3"):
        transfer(known_us, measure(KERNELS[:3], {}))
    rows = measure(KERNELS[:4], {})
    foreign = KernelRow(kernel="x", method="alone", median_us=1.0, p10_us=1.0, p90_us=1.0, runs=1, date="2026-01-01",
                        provenance="measured")  # fmt: skip
    with pytest.raises(InputError, match="'x' is not the key of a kernel"):
        transfer(known_us, [*rows, foreign])
