"""What starting one kernel costs: the slope of the times of chains of trivial kernels."""

from collections.abc import Callable
from typing import Any

import torch
from case import Setting
from clock import quantiles, sample_us, warm_up
from step_latency import captured

LENGTHS = (50, 100, 200, 400, 800)


def run(setting: Setting) -> dict[str, Any]:
    """Return the microseconds of a kernel in a chain, started one by one and as a CUDA graph."""
    device = setting.device
    x = torch.zeros(1, device=device)
    lengths = LENGTHS[:3] if setting.rehearse else LENGTHS
    with torch.inference_mode():
        chains = {length: _chain(x, length) for length in lengths}
        warmed = warm_up(chains[lengths[-1]], device, setting.warm_s)
        found = {"one_by_one": _slope(chains, setting)}
        if device == "cuda":
            found["as_a_graph"] = _slope({length: captured(one) for length, one in chains.items()}, setting)
    return {"warm_up": warmed, **found}


def _chain(x: torch.Tensor, length: int) -> Callable[[], None]:
    def chain() -> None:
        for _ in range(length):
            x.add_(1)

    return chain


def _slope(chains: dict[int, Callable[[], Any]], setting: Setting) -> dict[str, Any]:
    """Return the slope and the start of the least-squares line through the medians, and the medians."""
    times: dict[int, list[float]] = {length: [] for length in chains}
    for _ in range(setting.rounds):
        for length, chain in chains.items():
            times[length] += [sample_us(chain, setting.device)[0] for _ in range(5)]
    medians = {length: quantiles(values)["median"] for length, values in times.items()}
    mean_length, mean_us = sum(medians) / len(medians), sum(medians.values()) / len(medians)
    spread = sum((length - mean_length) ** 2 for length in medians)
    slope = sum((length - mean_length) * (us - mean_us) for length, us in medians.items()) / spread
    return {"kernel_us": slope, "start_us": mean_us - slope * mean_length, "medians_us": medians}
