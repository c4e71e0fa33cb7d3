"""What values the tensors of a network take: observed on calibration inputs, summarised as ranges."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import torch
from torch import Tensor, fx

from hwcomp.errors import InputError
from hwcomp.ops import SAME_VALUES, is_float, op_of
from hwcomp.program import Inputs, Program
from hwcomp.quantizer import HALF, HARD_KNEE, SYMMETRIC, QuantParams, activation_params, fake_quantize, hard_knee_params

RangeMethod = Literal["minmax", "percentile", "mse"]

SAMPLES_PER_INPUT = 2048
PERCENTILE = 99.99
CLIP_RATIOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What was seen of one tensor.

    Attributes:
        low: smallest value.
        high: largest value.
        sample: some of the values, evenly spread, (samples,).
        channel_mean: mean over everything but axis 1, (C,); of the last axis for tensors of two axes.
    """

    low: float
    high: float
    sample: Tensor
    channel_mean: Tensor


class _Observer(fx.Interpreter):
    def __init__(self, program: Program) -> None:
        super().__init__(program.module)
        self.seen: dict[str, list[tuple[float, float, Tensor, Tensor]]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op != "output" and isinstance(result, Tensor) and result.dtype == torch.float32 and result.numel():
            flat = result.flatten()
            stride = max(1, flat.numel() // SAMPLES_PER_INPUT)
            axes = [axis for axis in range(result.ndim) if axis != 1]
            mean = result.mean(axes) if result.ndim > 1 else result
            low, high = torch.aminmax(flat)
            self.seen.setdefault(n.name, []).append((float(low), float(high), flat[::stride].clone(), mean))
        return result


def observe(
    program: Program, inputs: Iterable[Inputs], progress: Callable[[], None] = lambda: None
) -> dict[str, Observation]:
    """Run the program on calibration inputs and return what was seen of every float tensor, by node name.

    Raises:
        InputError: there are no inputs, or a tensor holds NaN or infinity.
    """
    observer = _Observer(program)
    count = 0
    with torch.no_grad():
        for batch in inputs:
            observer.run(*batch)
            count += 1
            progress()
    if count == 0:
        raise InputError("The calibration data is empty; give at least one batch, or none at all to have it generated.")
    return {name: _summarise(name, seen) for name, seen in observer.seen.items()}


def _summarise(name: str, seen: list[tuple[float, float, Tensor, Tensor]]) -> Observation:
    low, high = min(row[0] for row in seen), max(row[1] for row in seen)
    if not all(isfinite(row[0]) and isfinite(row[1]) for row in seen):
        raise InputError(f"Tensor '{name}' holds NaN or infinity on the calibration data (range {low} to {high}).")
    mean = torch.stack([row[3] for row in seen]).mean(0)
    return Observation(low=low, high=high, sample=torch.cat([row[2] for row in seen]), channel_mean=mean)


def activation_ranges(
    program: Program, seen: Mapping[str, Observation], method: RangeMethod, dtype: str
) -> dict[str, QuantParams]:
    """Return the parameters of every float tensor, by node name.

    Tensors that hold only values of another one (reshapes, maximum pooling) share its parameters; the input of a
    hard-swish or hard-sigmoid ends at -3, below which both are 0, unless the format is symmetric.
    """
    params: dict[str, QuantParams] = {}
    for node in program.nodes:
        if node.op == "output" or not is_float(node) or node.name not in seen:
            continue
        source = node.all_input_nodes[0].name if node.all_input_nodes else ""
        if op_of(node) in SAME_VALUES and source in params:
            params[node.name] = params[source]
            continue
        readers = {op_of(user) for user in node.users}
        how: RangeMethod = "minmax" if dtype == HALF else method
        low, high = value_range(seen[node.name], how, dtype)
        if dtype in SYMMETRIC:
            params[node.name] = activation_params(low, high, dtype)
        elif readers == {"hardswish"} and len(node.users) == 1:
            params[node.name] = hard_knee_params(high, dtype)
        elif readers == {"hardsigmoid"} and len(node.users) == 1:
            params[node.name] = hard_knee_params(HARD_KNEE, dtype)
        else:
            params[node.name] = activation_params(low, high, dtype)
    return params


def value_range(seen: Observation, method: RangeMethod, dtype: str) -> tuple[float, float]:
    """Return the range to represent: all of it, without the extreme tails, or that of least squared error."""
    if method == "minmax" or seen.sample.numel() < 2:
        return seen.low, seen.high
    if method == "percentile":
        tail = (100 - PERCENTILE) / 200
        low, high = torch.quantile(seen.sample[: 2**24], torch.tensor([tail, 1 - tail])).tolist()
        return float(low), float(high)
    errors = {ratio: _squared_error(seen, ratio, dtype) for ratio in CLIP_RATIOS}
    best = min(errors, key=lambda ratio: errors[ratio])
    return seen.low * best, seen.high * best


def _squared_error(seen: Observation, ratio: float, dtype: str) -> float:
    params = activation_params(seen.low * ratio, seen.high * ratio, dtype)
    return float((fake_quantize(seen.sample, params) - seen.sample).square().mean())
