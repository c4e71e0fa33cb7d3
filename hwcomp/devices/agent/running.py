"""Models, run: once for their outputs, or again and again for their latency."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .gpus import state_under_load
from .providers import CPU
from .sessions import open_session, runner
from .strays import check_on_gpu
from .wire import TYPES, Answer, Header, Refused, Source

MIN_RUNS, MAX_RUNS = 7, 300


def run_model(source: Source, feed: Header, threads: int, provider: str = CPU) -> Answer:
    """Return the outputs of one run."""
    if provider != CPU:
        check_on_gpu(source, feed, threads, provider)
    session = open_session(source, threads, provider=provider)
    outputs = session.run(None, feed)
    described = [
        {"name": item.name, "dtype": str(array.dtype), "shape": list(array.shape)}
        for item, array in zip(session.get_outputs(), outputs)  # noqa: B905 - Python 3.9 has no `strict`
    ]
    if any(item["dtype"] not in TYPES for item in described):
        raise Refused(f"outputs of types {', '.join(item['dtype'] for item in described)}, not all of which can travel")
    return {"outputs": described}, [array.tobytes() for array in outputs]


def time_block(
    source: Source, feed: Header, threads: int, runs: int | None, block_s: float, warmup: int, provider: str = CPU
) -> Header:
    """Return the times in microseconds of runs in a fresh, warmed-up session; for a GPU, its state while it worked.

    Without ``runs`` there are as many as fit the block. ONNX Runtime's worker threads spin after a run and slow every
    other session, so this one is gone at the end.
    """
    if provider != CPU:
        check_on_gpu(source, feed, threads, provider)
    run = runner(open_session(source, threads, provider=provider), feed, provider)
    last_us = 0.0
    for _ in range(warmup):
        last_us = run_us(run)
    count = runs or max(MIN_RUNS, min(MAX_RUNS, int(block_s * 1e6 / last_us)))
    times = [run_us(run) for _ in range(count)]
    return {"us": times} if provider == CPU else {"us": times, "gpu": state_under_load(run)}


def run_us(run: Callable[[], Any]) -> float:
    """Return how long a run takes in microseconds."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e6
