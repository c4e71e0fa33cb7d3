"""This machine.

ONNX Runtime's worker threads spin after a run and slow every other session, so only one session is alive at a time:
models are compared in short blocks (build, warm up, time, destroy), in turn, the order reversed every other round.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hwcomp.lowering.onnxruntime import Feed, Owner, kernel_times, open_session
from hwcomp.measurement import Comparison

BLOCK_S = 0.25
"""Time that a block of runs should take."""

MIN_RUNS, MAX_RUNS = 7, 300
PROFILE_BLOCK_S, MAX_PROFILED_RUNS = 0.15, 60
WARMUP = 3


def compare(
    models: Mapping[str, bytes | Path],
    feed: Feed,
    threads: int,
    rounds: int,
    progress: Callable[[], None] = lambda: None,
) -> Comparison:
    """Time models against each other; the first one is the control.

    Args:
        models: name -> ONNX model.
        feed: input name -> array.
        threads: for the runtime.
        rounds: blocks of each model.
        progress: called after every block.
    """
    blocks: dict[str, list[list[float]]] = {name: [] for name in models}
    runs: dict[str, int] = {}
    for index in range(rounds):
        order = list(models) if index % 2 == 0 else list(models)[::-1]
        for name in order:
            block = time_block(models[name], feed, threads, runs.get(name))
            runs[name] = len(block)
            blocks[name].append(block)
            progress()
    return Comparison(blocks_us=blocks, threads=threads)


def time_block(model: bytes | Path, feed: Feed, threads: int, runs: int | None = None) -> list[float]:
    """Return the times in microseconds of runs in a fresh, warmed-up session; their number fits `BLOCK_S`."""
    session = open_session(model, threads)
    for _ in range(WARMUP):
        start = time.perf_counter()
        session.run(None, feed)
        last_s = time.perf_counter() - start
    count = runs or max(MIN_RUNS, min(MAX_RUNS, int(BLOCK_S / last_s)))
    times = []
    for _ in range(count):
        start = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e6)
    return times


def profile(model: bytes | Path, feed: Feed, threads: int, latency_us: float) -> dict[Owner, float]:
    """Return the times of a model's kernels by owner; ``latency_us`` of the whole decides how many runs fit a block."""
    runs = max(MIN_RUNS, min(MAX_PROFILED_RUNS, int(PROFILE_BLOCK_S * 1e6 / latency_us)))
    return kernel_times(model, feed, threads, runs, WARMUP)
