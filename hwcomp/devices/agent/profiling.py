"""Models, profiled: the time of every node in the context of the whole model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .gpus import state_under_load
from .providers import CPU
from .running import run_us
from .sessions import KERNEL_SUFFIX, open_session, runner
from .strays import check_on_gpu
from .wire import Answer, Header, Refused, Source, pack, read_message

BLOCKING = "CUDA_LAUNCH_BLOCKING"
"""Where it is 1, the processor waits for every kernel of a GPU, so that a profile has their times."""

ROOT = Path(__file__).parents[__name__.count(".")]
"""Where Python finds this package: a folder, or the archive that it travelled in."""

START = (
    "import sys; sys.path[:] = [sys.argv[1], *filter(None, sys.path)]; "  # a file that happens to lie here is no module
    "import runpy; runpy.run_module(sys.argv[2], run_name='__main__')"
)
"""Starts another agent."""


def profile(source: Source, feed: Header, threads: int, runs: int, warmup: int, provider: str = CPU) -> Answer:
    """Return the durations and executions per run of every node, those of the last runs, and the optimised graph."""
    if provider != CPU:
        check_on_gpu(source, feed, threads, provider)
    news: Header = {}
    with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
        session = open_session(source, threads, folder, provider)
        run = runner(session, feed, provider)
        whole_us = [run_us(run) for _ in range(warmup + runs)]
        events = json.loads(Path(session.end_profiling()).read_text())
        if provider != CPU:
            news = {"gpu": state_under_load(run)}
        del session, run  # its threads spin while it lives
        graph = (Path(folder) / "optimized.onnx").read_bytes()
    durations: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL_SUFFIX):
            durations.setdefault(event["name"][: -len(KERNEL_SUFFIX)], []).append(event["dur"])
    answer = {
        "samples": {name: values[-runs:] for name, values in durations.items()},
        "per_run": {name: len(values) / (warmup + runs) for name, values in durations.items()},
        "us": whole_us[-runs:],
        **news,
    }
    return answer, [graph]


def profile_in_child(source: Source, request: Header, blobs: list[bytes]) -> Answer:
    """Profile in another agent whose processor waits for every kernel: CUDA decides that when a process begins."""
    model = source if isinstance(source, bytes) else Path(source).read_bytes()
    digest = hashlib.sha256(model).hexdigest()
    asked = [({"id": 0, "verb": "put", "sha256": digest}, [model]), ({**request, "model": digest}, blobs)]
    with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
        child = subprocess.Popen(  # noqa: S603 - no shell reads it
            [sys.executable, "-c", START, str(ROOT), str(__package__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, BLOCKING: "1", "TMPDIR": folder},  # it is killed, and cannot tidy up
        )
        try:
            answers = [_asked(child, header, parts) for header, parts in asked]
        finally:
            child.kill()
            child.communicate()
    return answers[-1]


def _asked(child: Any, request: Header, blobs: list[bytes]) -> Answer:
    """Return the answer of an agent that is a child of this one."""
    for part in (pack(request, blobs), *blobs):
        child.stdin.write(part)
    child.stdin.flush()
    message = read_message(child.stdout)
    if message is None:
        raise Refused(f"the agent that profiles on the GPU ended with code {child.wait()}", "runtime")
    answer, out = message
    if answer.get("ok") is not True:
        raise Refused(str(answer.get("error")), str(answer.get("kind")))
    return answer, out
