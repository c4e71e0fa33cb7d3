r"""Calibration inputs for a network that came without data.

From BatchNorm statistics: noise is optimised until the mean and variance before every BatchNorm are those that it
remembers from training.

.. math:: \min_x \sum_l \| \mu_l(x) - \mu_l \|^2 + \| \sigma_l(x) - \sigma_l \|^2

Without BatchNorm: noise of unit variance. Source: eq. 3 of [Cai2020]_, ZeroQ: a novel zero-shot quantization framework.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hwcomp.program import Inputs

STEPS = 60
RATE = 0.1
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def generate_inputs(
    model: nn.Module,
    example: Inputs,
    count: int,
    seed: int,
    seconds: float = 15.0,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Inputs], str]:
    """Return inputs like the example, and in words where they come from.

    Inputs that are not float stay as in the example. At most ``seconds`` are spent; at least one step is made.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [tuple(_noise(x, generator) for x in example) for _ in range(count)]
    norms = [m for m in model.modules() if isinstance(m, NORMS) and m.running_mean is not None]
    if not norms or not all(x.is_floating_point() for x in example):
        return drawn, f"{count} random inputs of unit variance (no data was given)"
    batch = tuple(torch.cat(columns).requires_grad_() for columns in zip(*drawn, strict=True))
    steps = _match_statistics(model, norms, batch, time.monotonic() + seconds, progress)
    size = example[0].shape[0]
    pieces = zip(*(torch.split(x.detach(), size) for x in batch), strict=True)
    return list(pieces), f"{count} inputs generated from BatchNorm statistics in {steps} steps (no data was given)"


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator) if x.is_floating_point() else x.clone()


def _match_statistics(
    model: nn.Module, norms: Sequence[nn.Module], batch: Inputs, deadline: float, progress: Callable[[float], None]
) -> int:
    losses: list[Tensor] = []

    def compare(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        axes = [axis for axis in range(x.ndim) if axis != 1]
        assert isinstance(norm.running_mean, Tensor)
        assert isinstance(norm.running_var, Tensor)
        wanted = norm.running_var.sqrt()
        spread = x.var(axes).clamp_min(1e-10).sqrt()
        losses.append(((x.mean(axes) - norm.running_mean) / wanted.clamp_min(1e-5)).square().mean())
        losses.append(((spread - wanted) / wanted.clamp_min(1e-5)).square().mean())

    hooks = [norm.register_forward_pre_hook(compare) for norm in norms]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(batch, RATE)
    step = 0
    try:
        for parameter in trainable:
            parameter.requires_grad = False
        while step < STEPS and (step == 0 or time.monotonic() < deadline):
            losses.clear()
            model(*batch)
            optimiser.zero_grad()
            torch.autograd.backward(torch.stack(losses).mean())
            optimiser.step()
            step += 1
            progress(step / STEPS)
    finally:
        for parameter in trainable:
            parameter.requires_grad = True
        for hook in hooks:
            hook.remove()
    return step
