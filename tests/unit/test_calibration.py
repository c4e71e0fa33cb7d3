"""Ranges: what calibration sees and makes of it."""

import pytest
import torch
from torch import nn

from hwcomp.calibration import Observation, activation_ranges, observe, value_range
from hwcomp.errors import InputError
from hwcomp.ops import SAME_VALUES, op_of
from hwcomp.passes.insert_quant_choices import why_not
from hwcomp.quantizer import HARD_KNEE, LIMITS, activation_params, fake_quantize
from hwcomp.tracing import trace


def observation(sample: torch.Tensor) -> Observation:
    low, high = float(sample.min()), float(sample.max())
    return Observation(low=low, high=high, sample=sample, channel_mean=sample.mean()[None])


def test_minmax_is_all_that_was_seen() -> None:
    seen = observation(torch.tensor([-2.0, 0.5, 7.0]))
    assert value_range(seen, "minmax", "uint8") == (-2.0, 7.0)


def test_percentile_leaves_out_the_tails() -> None:
    sample = torch.cat([torch.linspace(-1, 1, 100_001), torch.tensor([1000.0])])
    low, high = value_range(observation(sample), "percentile", "uint8")
    assert -1 <= low < -0.99
    assert 0.99 < high < 1.1


def test_mse_clips_outliers_only_if_that_helps() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.rand(20_000, generator=generator) * 2 - 1
    assert value_range(observation(flat), "mse", "uint8") == (float(flat.min()), float(flat.max()))
    spiky = torch.cat([torch.randn(20_000, generator=generator), torch.tensor([9.0])])
    seen = observation(spiky)
    low, high = value_range(seen, "mse", "uint8")
    assert high < 9.0

    def error(a: float, b: float) -> float:
        return float((fake_quantize(spiky, activation_params(a, b, "uint8")) - spiky).square().mean())

    assert error(low, high) <= error(seen.low, seen.high)


def test_ranges_cover_every_batch_and_means_are_of_channels() -> None:
    program = trace(nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU()), (torch.randn(1, 2, 4, 4),))
    low, high = torch.full((1, 2, 4, 4), -5.0), torch.full((1, 2, 4, 4), 3.0)
    high[:, 1] = 9.0
    seen = observe(program, [(low,), (high,)])
    name = program.nodes[0].name
    assert (seen[name].low, seen[name].high) == (-5.0, 9.0)
    torch.testing.assert_close(seen[name].channel_mean, torch.tensor([-1.0, 2.0]))


@pytest.mark.parametrize("dtype", sorted(LIMITS))
def test_tensors_of_the_same_values_share_one_quantiser(network, dtype: str) -> None:
    program = trace(network.model, network.inputs)
    params = activation_ranges(program, observe(program, network.batches(2)), "minmax", dtype)
    assert {p.dtype for p in params.values()} == {dtype}
    for node in program.nodes:
        if op_of(node) in SAME_VALUES:
            assert params[node.name] == params[node.all_input_nodes[0].name]


@pytest.mark.parametrize("act", [nn.Hardswish(), nn.Hardsigmoid()])
def test_the_input_of_a_hard_activation_starts_at_its_knee(act: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), act)
    x = torch.randn(1, 3, 4, 4) * 4
    program = trace(model, (x,))
    params = activation_ranges(program, observe(program, [(x,)]), "minmax", "uint8")
    read = params[program.nodes[-2].all_input_nodes[0].name]
    assert read.scale * (0 - read.zero_point) == pytest.approx(-HARD_KNEE)


@pytest.mark.parametrize("before", [nn.MaxPool2d(2), nn.Flatten(1)], ids=["pooled", "flattened"])
def test_a_hard_activation_whose_input_shares_values_stays_float(before: nn.Module) -> None:
    """The pooling has the quantiser of its own input, which starts where the convolution's values do, not at -3."""
    program = trace(nn.Sequential(nn.Conv2d(3, 4, 1), before, nn.Hardswish()), (torch.randn(1, 3, 4, 4),))
    assert "cannot be cut at -3" in str(why_not(program.nodes[-2]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_values_that_are_not_finite_are_refused(bad: float, position: int) -> None:
    """In whichever batch they are."""
    program = trace(nn.Conv2d(3, 2, 1), (torch.randn(1, 3, 4, 4),))
    batches = [(torch.randn(1, 3, 4, 4),) for _ in range(3)]
    batches[position][0][0, 0, 0, 0] = bad
    with pytest.raises(InputError, match="NaN or infinity"):
        observe(program, batches)


def test_no_data_is_refused() -> None:
    program = trace(nn.Conv2d(3, 2, 1), (torch.randn(1, 3, 4, 4),))
    with pytest.raises(InputError, match="empty"):
        observe(program, [])


def test_every_input_is_reported_as_progress() -> None:
    program = trace(nn.Conv2d(3, 2, 1), (torch.randn(1, 3, 4, 4),))
    calls: list[int] = []
    observe(program, [(torch.randn(1, 3, 4, 4),)] * 3, lambda: calls.append(1))
    assert len(calls) == 3
