"""Times of several contestants, taken in turn: events of CUDA on a GPU, the clock elsewhere."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from record import gpus

Run = Callable[[], Any]

FEWEST, MOST = 3, 200
STEADY = 0.01
"""Two clocks in a row that differ by less have settled."""


def sample_us(run: Run, device: str) -> tuple[float, float]:
    """Return the microseconds of one run: between events around it, and until the host knows that it is done."""
    if device == "cpu":
        start = time.perf_counter()
        run()
        took = 1e6 * (time.perf_counter() - start)
        return took, took
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start = time.perf_counter()
    first.record()
    run()
    last.record()
    torch.cuda.synchronize()  # of all streams: a run that uses another one shows in the second number
    wall_us = 1e6 * (time.perf_counter() - start)
    return 1e3 * first.elapsed_time(last), wall_us


def warm_up(run: Run, device: str, most_s: float) -> dict[str, Any]:
    """Run until the clock of the GPU has settled, and tell what it did."""
    start, clocks = time.monotonic(), []
    while True:
        until = time.monotonic() + min(0.5, most_s)
        while time.monotonic() < until:
            sample_us(run, device)
        for _ in range(FEWEST):
            run()
        clocks += [one["clock_mhz"] for one in gpus()[:1]]  # while there is work in the queue
        settled = len(clocks) > 1 and abs(clocks[-1] - clocks[-2]) <= STEADY * clocks[-2]
        if settled or time.monotonic() - start > most_s:
            return {"clocks_mhz": clocks, "settled": settled, "seconds": time.monotonic() - start}


def contest(
    contestants: Mapping[str, Run], against: str, device: str, *, rounds: int, block_s: float
) -> dict[str, Any]:
    """Time contestants in interleaved blocks.

    Args:
        contestants: name -> what runs once.
        against: the reference; every speed-up is its median over the contestant's, within a round.
        device: "cpu" or "cuda".
        rounds: each contestant has one block in each; every other round turns the order round.
        block_s: length of a block, in seconds.
    """
    counts = {}
    for name, run in contestants.items():
        guess_us = statistics.median(sample_us(run, device)[1] for _ in range(FEWEST))
        counts[name] = max(FEWEST, min(MOST, int(1e6 * block_s / max(guess_us, 1.0))))
    samples: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in contestants}
    states = []
    for number in range(rounds):
        names = list(contestants)[:: -1 if number % 2 else 1]
        for name in names:
            block = [sample_us(contestants[name], device) for _ in range(counts[name] + 1)]
            samples[name].append(block[1:])  # the first run finds the caches full of another's
        states.append([{key: one[key] for key in ("clock_mhz", "temperature_c", "reasons")} for one in gpus()])
    base = [_median(block) for block in samples[against]]
    return {
        "against": against,
        "states": states,
        "times": {name: _summary(blocks, base) for name, blocks in samples.items()},
    }


def _median(block: list[tuple[float, float]]) -> float:
    return statistics.median(event for event, _ in block)


def _summary(blocks: list[list[tuple[float, float]]], base: list[float]) -> dict[str, Any]:
    events = [event for block in blocks for event, _ in block]
    walls = [wall for block in blocks for _, wall in block]
    ratios = [reference / _median(block) for reference, block in zip(base, blocks, strict=True)]
    return {
        "us": quantiles(events),
        "wall_us": quantiles(walls),
        "speedup": quantiles(ratios),
        "count": len(events),
        "blocks_us": [_median(block) for block in blocks],
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """Return the median, and the values that 10 % and 90 % lie below."""
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p10": ordered[int(0.1 * (len(ordered) - 1))],
        "p90": ordered[-1 - int(0.1 * (len(ordered) - 1))],
    }
