"""Number formats: what rounding may lose, and what it must not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwcomp.lowering.weight_only import pack
from hwcomp.quantizer import (
    HALF,
    LIMITS,
    SYMMETRIC,
    QuantWeight,
    activation_params,
    bias_correction,
    fake_quantize,
    hard_knee_params,
    quantize_blocks,
    quantize_per_channel,
)

DTYPES = sorted(LIMITS)
INTEGERS = sorted(set(LIMITS) - {HALF})
WITH_ZERO_POINT = sorted(set(LIMITS) - SYMMETRIC)
reals = st.floats(-1e4, 1e4, allow_nan=False, width=32)
fast = settings(max_examples=60, deadline=None)


@fast
@given(a=reals, b=reals, dtype=st.sampled_from(INTEGERS))
def test_rounding_loses_at_most_half_a_step_inside_the_range(a: float, b: float, dtype: str) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    params = activation_params(low, high, dtype)
    smallest, largest = LIMITS[dtype]
    assert smallest <= params.zero_point <= largest
    inside = (params.scale * (smallest - params.zero_point), params.scale * (largest - params.zero_point))
    assert inside[0] - 0.51 * params.scale <= low
    assert high <= inside[1] + 0.51 * params.scale
    x = torch.linspace(*inside, 301)
    worst = float((fake_quantize(x, params) - x).abs().max())
    assert worst <= params.scale * 0.501 + 1e-5 * max(abs(low), abs(high))


def test_halves_are_rounded_as_halves_whatever_their_range() -> None:
    x = torch.randn(1000) * 1e3
    torch.testing.assert_close(fake_quantize(x, activation_params(-1.0, 1.0, HALF)), x.half().float(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", sorted(SYMMETRIC - {HALF}))
def test_symmetric_formats_have_no_zero_point(dtype: str) -> None:
    """TensorRT refuses any other."""
    assert activation_params(-1.0, 9.0, dtype).zero_point == 0
    assert activation_params(0.0, 9.0, dtype).zero_point == 0
    assert float(fake_quantize(torch.tensor([9.0]), activation_params(-1.0, 9.0, dtype))) == pytest.approx(9.0)
    lowest = fake_quantize(torch.tensor([-9.0]), activation_params(-9.0, 1.0, dtype))
    assert float(lowest) == pytest.approx(-9.0, rel=0.01)


@fast
@given(a=reals, b=reals, dtype=st.sampled_from(DTYPES))
def test_zero_is_exact(a: float, b: float, dtype: str) -> None:
    """Padding is zero; a range that does not hold it is widened."""
    params = activation_params(min(a, b), max(a, b), dtype)
    assert float(fake_quantize(torch.zeros(1), params)) == 0.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_of_zeros_has_a_usable_scale(dtype: str) -> None:
    params = activation_params(0.0, 0.0, dtype)
    assert params.scale > 0
    assert float(fake_quantize(torch.zeros(3), params).abs().sum()) == 0.0


@fast
@given(high=st.floats(-5, 200), dtype=st.sampled_from(WITH_ZERO_POINT))
def test_the_gate_is_another_reading_of_the_same_integers(high: float, dtype: str) -> None:
    params = hard_knee_params(high, dtype)
    smallest, largest = LIMITS[dtype]
    integers = torch.arange(smallest, largest + 1).double()
    x = params.scale * (integers - params.zero_point)
    gate = params.scale / 6 * (integers - smallest)
    torch.testing.assert_close(gate, (x + 3) / 6, rtol=0, atol=1e-12)
    assert float(x[0]) == pytest.approx(-3, abs=1e-12)
    assert float(x[-1]) >= max(high, 3) - params.scale
    one = 2 * params.zero_point - smallest
    if one <= largest:
        assert float(gate[one - smallest]) == pytest.approx(1, abs=1e-12)
    assert float(gate[-1]) >= 1 - params.scale / 6


shapes = st.sampled_from([(1, 1), (3, 7), (8, 4, 3, 3), (5, 1, 3, 3), (2, 3, 1, 1)])


@fast
@given(shape=shapes, bits=st.sampled_from([4, 7, 8]), seed=st.integers(0, 999))
def test_a_weight_is_half_a_step_off_per_channel_at_most(shape: tuple[int, ...], bits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.logspace(-3, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
    weight = torch.randn(shape, generator=generator) * spread
    values, scales = quantize_per_channel(weight, bits)
    assert values.dtype == torch.int8
    assert int(values.abs().max()) <= 2 ** (bits - 1) - 1
    restored = QuantWeight(values=values, scales=scales, bits=bits, bias=None).dequantized
    worst = (restored - weight).abs().flatten(1).amax(1)
    assert bool((worst <= scales * 0.501).all())


@fast
@given(rows=st.integers(1, 5), columns=st.integers(1, 100), bits=st.sampled_from([4, 8]), seed=st.integers(0, 99))
def test_blocks_of_weights_are_half_a_step_off_at_most(rows: int, columns: int, bits: int, seed: int) -> None:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    values, scales = quantize_blocks(weight, bits)
    assert scales.shape == (rows, -(-columns // 32))
    restored = QuantWeight(values=values, scales=scales, bits=bits, bias=None).dequantized
    per_weight = scales.repeat_interleave(32, 1)[:, :columns]
    assert restored.shape == weight.shape
    assert bool(((restored - weight).abs() <= per_weight * 0.501).all())


@pytest.mark.parametrize("columns", [1, 33, 40, 64, 65, 96, 100])
def test_block_scales_are_read_back_where_they_belong(columns: int) -> None:
    """Each block has its own scale, also where the last block is not full."""
    weight = 10.0 ** (torch.arange(columns) // 32)[None, :]
    values, scales = quantize_blocks(weight, 8)
    restored = QuantWeight(values=values, scales=scales, bits=8, bias=None).dequantized
    torch.testing.assert_close(restored, weight)


@pytest.mark.parametrize(("groups", "kernel"), [(1, 3), (2, 3), (6, 3), (1, 1)])
def test_bias_correction_removes_the_mean_error(groups: int, kernel: int) -> None:
    generator = torch.Generator().manual_seed(0)
    conv = torch.nn.Conv2d(6, 12, kernel, groups=groups, bias=False)
    x = torch.randn(16, 6, 9, 9, generator=generator) + torch.linspace(-2, 3, 6).view(6, 1, 1)
    values, scales = quantize_per_channel(conv.weight, 4)
    rounded = QuantWeight(values=values, scales=scales, bits=4, bias=None).dequantized
    correction = bias_correction(conv.weight.detach(), rounded, x.mean((0, 2, 3)))
    with torch.no_grad():
        exact = conv(x)
        off = torch.nn.functional.conv2d(x, rounded, groups=groups) - exact
    before, after = off.mean((0, 2, 3)).abs(), (off.mean((0, 2, 3)) + correction).abs()
    assert float(after.max()) < 0.15 * float(before.max())


def unpack(packed: np.ndarray, bits: int, columns: int) -> np.ndarray:
    flat = packed.reshape(packed.shape[0], -1).astype(np.int16)
    if bits == 4:
        flat = np.stack([flat & 15, flat >> 4], -1).reshape(packed.shape[0], -1)
    return flat[:, :columns] - (1 << (bits - 1))


@fast
@given(rows=st.integers(1, 6), columns=st.integers(1, 100), bits=st.sampled_from([4, 8]), seed=st.integers(0, 99))
def test_packed_weights_can_be_unpacked(rows: int, columns: int, bits: int, seed: int) -> None:
    largest = 2 ** (bits - 1) - 1
    values = np.random.default_rng(seed).integers(-largest, largest + 1, (rows, columns)).astype(np.int8)
    packed = pack(values, bits, 32)
    assert packed.shape == (rows, -(-columns // 32), 32 * bits // 8)
    assert packed.dtype == np.uint8
    assert np.array_equal(unpack(packed, bits, columns), values)
