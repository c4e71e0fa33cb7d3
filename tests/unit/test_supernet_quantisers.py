"""Rounding with gradients: it rounds as lowering does, and its gradients are those of the formulas."""

import math

import pytest
import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.quantizer import QuantParams, activation_params, fake_quantize, quantize_blocks, quantize_per_channel
from hwcomp.scheme import is_simulated, quant_of
from hwcomp.supernet.quantisers import ActivationRounding
from hwcomp.supernet.rounding import Rounding, WeightRounding
from hwcomp.supernet.weights import LearnedWeightRounding, round_weight

PARAMS = {"uint8": activation_params(-1.0, 3.0, "uint8"), "int8": activation_params(-1.0, 3.0, "int8")}


def spread(count: int = 4000) -> Tensor:
    """Values inside the range of PARAMS and beyond both ends."""
    return torch.linspace(-1.5, 3.5, count).reshape(2, 2, -1)


@pytest.mark.parametrize("dtype", sorted(PARAMS))
def test_a_tensor_is_rounded_as_lowering_does(dtype: str) -> None:
    rounding = ActivationRounding(PARAMS[dtype])
    assert rounding.params.zero_point == PARAMS[dtype].zero_point
    assert rounding.params.scale == pytest.approx(PARAMS[dtype].scale, rel=1e-6)
    x = spread()
    torch.testing.assert_close(rounding(x), fake_quantize(x, rounding.params), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_few_bits_divide_the_same_range(bits: int) -> None:
    rounding = ActivationRounding(PARAMS["uint8"], bits)
    levels = rounding(spread()).detach().unique()
    assert len(levels) == 2**bits
    assert bool((levels == 0).any())
    assert float(levels.max() - levels.min()) == pytest.approx(4.0, rel=1e-5)


@pytest.mark.parametrize("share", [None, 0.3])
def test_the_gradient_of_a_rounded_tensor(share: float | None) -> None:
    """Compared with the formulas written out with autograd."""
    rounding, x, weight = ActivationRounding(PARAMS["uint8"]), spread().requires_grad_(), torch.randn(2, 2, 1000)
    p = None if share is None else torch.tensor(share, requires_grad=True)
    found = rounding(x, p)
    (found * weight).sum().backward()

    step = torch.tensor(rounding.params.scale, requires_grad=True)
    y, q = x.detach().requires_grad_(), None if share is None else torch.tensor(share, requires_grad=True)
    zero = rounding.params.zero_point
    scaled = y / step
    nearest = scaled.detach().round()
    clipped = nearest.clamp(-zero, 255 - zero)
    rounded = torch.where(nearest == clipped, scaled + (nearest - scaled).detach(), clipped) * step
    expected = rounded if q is None else y * (1 - q) + rounded * q
    (expected * weight).sum().backward()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-5)
    factor = 1 / math.sqrt(2000 * 255)
    torch.testing.assert_close(rounding.step.grad, step.grad * factor, rtol=2e-3, atol=1e-4)
    if p is not None:
        torch.testing.assert_close(p.grad, q.grad, rtol=2e-3, atol=1e-3)


def test_a_share_of_nothing_still_has_a_gradient() -> None:
    x, weight = spread(), torch.randn(2, 2, 1000)
    p = torch.zeros((), requires_grad=True)
    (ActivationRounding(PARAMS["uint8"])(x, p) * weight).sum().backward()
    rounded = fake_quantize(x, PARAMS["uint8"])
    assert float(p.grad) == pytest.approx(float(((rounded - x) * weight).sum()), rel=0.05)


def test_a_step_that_is_not_learned_stays() -> None:
    assert not ActivationRounding(PARAMS["uint8"], learned=False).step.requires_grad


def test_a_learned_step_finds_the_range() -> None:
    """Values reach 1, the range 8; the step shrinks until rounding errs least."""
    params = QuantParams(scale=8 / 15, zero_point=0, dtype="uint8")
    rounding = ActivationRounding(params, 4)
    with torch.no_grad():
        rounding.step.fill_(8 / 15)
    x = torch.rand(64, 100)
    optimiser = torch.optim.Adam(rounding.parameters(), lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        (rounding(x) - x).square().mean().backward()
        optimiser.step()
    assert float(rounding.step.detach()) == pytest.approx(1 / 15, rel=0.15)


@pytest.mark.parametrize("bits", [7, 8])
def test_a_weight_is_rounded_as_lowering_does(bits: int) -> None:
    weight = torch.randn(6, 5, 3, 3)
    values, scales = quantize_per_channel(weight, bits)
    torch.testing.assert_close(round_weight(weight, bits), values * scales.view(-1, 1, 1, 1))


def test_blocks_are_rounded_as_lowering_does() -> None:
    weight = torch.randn(6, 70)
    values, scales = quantize_blocks(weight, 4)
    expected = values * scales.repeat_interleave(32, dim=1)[:, :70]
    torch.testing.assert_close(round_weight(weight, 4, is_blocked=True), expected)


def test_rounding_commutes_with_batchnorm() -> None:
    """What training sees, times the factors of BatchNorm, is what lowering makes of the folded weight."""
    conv, norm = nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8)
    factors = torch.randn(8)
    norm.weight.data = factors * torch.sqrt(norm.running_var + norm.eps)
    folded = conv.weight.detach() * factors.view(-1, 1, 1, 1)
    values, scales = quantize_per_channel(folded, 8)
    found = round_weight(conv.weight.detach(), 8) * factors.view(-1, 1, 1, 1)
    torch.testing.assert_close(found, values * scales.view(-1, 1, 1, 1), rtol=1e-4, atol=1e-6)


def test_gradients_pass_a_rounded_weight() -> None:
    weight = torch.randn(4, 3, requires_grad=True)
    (round_weight(weight, 8) * 3.0).sum().backward()
    torch.testing.assert_close(weight.grad, torch.full((4, 3), 3.0))


def test_noise_replaces_rounding_for_a_share_of_the_weights() -> None:
    weight = torch.randn(50, 200)
    quiet, loud = round_weight(weight, 3), round_weight(weight, 3, noise=0.3)
    steps = weight.abs().amax(1, keepdim=True) / 3
    noisy = loud != quiet
    assert float(noisy.float().mean()) == pytest.approx(0.3, abs=0.02)
    assert bool(((loud - weight).abs() <= 0.5001 * steps).all())
    assert len(loud[noisy].unique()) > 100


def test_learned_weight_steps_follow_the_published_gradient() -> None:
    """Inside the range round(v) - v, at its ends -Q and Q, times 1 / sqrt(N Q) [Esser2020]_."""
    weight = torch.randn(3, 20)
    rounding = LearnedWeightRounding(weight, 3)
    rounding(weight).sum().backward()
    v = weight / rounding.steps.detach()[:, None]
    expected = torch.where(v.abs() < 3, v.round() - v, 3 * v.sign()).sum(1) / math.sqrt(20 * 3)
    torch.testing.assert_close(rounding.steps.grad, expected, rtol=1e-4, atol=1e-4)
    assert len((rounding(weight) / rounding.steps[:, None]).round().unique()) <= 7


def test_two_bits_are_ternary() -> None:
    weight = torch.randn(1, 100)
    assert len(LearnedWeightRounding(weight, 2)(weight).detach().unique()) == 3


def test_simulated_schemes_are_parsed() -> None:
    quant = quant_of("w4a3")
    assert (quant.weight_bits, quant.activation_bits, quant.writes_integers) == (4, 3, False)
    assert is_simulated("w4a3")
    assert not is_simulated("int8")


@pytest.mark.parametrize("wrong", ["w1a4", "w4a99", "int7", "w4"])
def test_wrong_schemes_are_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=wrong):
        quant_of(wrong)


def test_noise_is_for_training_alone() -> None:
    """A share of the weights moves by up to half a step around the float value, anew in each pass; never in eval."""
    torch.manual_seed(0)
    weight = torch.randn(4, 500)
    step = weight.abs().amax(1, keepdim=True) / 127
    rounding = WeightRounding(weight, [Rounding(weight_bits=8)], noise=0.25)
    rounded = round_weight(weight, 8)
    first, second = rounding(weight, Rounding(weight_bits=8)), rounding(weight, Rounding(weight_bits=8))
    assert not torch.equal(first, second)
    noisy = (first - rounded).abs() > 1e-3 * step
    assert float(noisy.float().mean()) == pytest.approx(0.25, abs=0.04)
    assert bool(((first - weight).abs() <= 0.501 * step).all())
    assert torch.equal(rounding.eval()(weight, Rounding(weight_bits=8)), rounded)
