"""Runs inside the emulator: the agent, whose verbs count instructions where they would take times.

Started with the file that the plugin writes to, and the agent's archive. It needs what the agent needs, and nothing of
hwcomp; time means nothing in an emulator, so it is not taken at all.
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

MARK, BEGIN, END = 0x48435750, 1, 3
SAME, MOST_RUNS = 0.002, 5
"""Runs are repeated until two in a row agree to this relative difference: the first ones allocate memory."""

Header = dict[str, Any]
Run = dict[str, Any]


class Counter:
    """Reads what the plugin notes between two marks."""

    def __init__(self, path: str) -> None:
        self._path, self._read = Path(path), 0
        self._libc = ctypes.CDLL(None)

    def _mark(self, operation: int) -> None:
        self._libc.prctl(ctypes.c_int(MARK), *map(ctypes.c_ulong, (operation, 0, 0, 0)))

    def run(self, session: Any, feed: Header) -> Run:
        """Run a model; return its counts by class, and the counters at every reading of the clock."""
        self._mark(BEGIN)
        session.run(None, feed)
        self._mark(END)
        with self._path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        self._read += len(text)
        rows = [line.split() for line in text.decode().splitlines()]
        counters = [[int(value) for value in row[2:]] for row in rows]
        if not rows or rows[0][0] != "b" or rows[-1][0] != "e":
            raise RuntimeError("the plugin wrote no marks")
        counts = [last - first for first, last in zip(counters[0], counters[-1])]  # noqa: B905 - as the agent
        return {"counts": counts, "clocks": counters[1:-1]}

    def settled(self, session: Any, feed: Header) -> list[Run]:
        """Run a model until two runs in a row agree, and return all of them."""
        runs = [self.run(session, feed)]
        while len(runs) < MOST_RUNS:
            runs.append(self.run(session, feed))
            before, last = (sum(run["counts"]) for run in runs[-2:])
            if abs(last - before) <= SAME * before:
                break
        return runs


def counting_verbs(counter: Counter) -> Header:
    """Return the verbs that count, to be put in the place of those that take times."""
    checks, sessions = import_module("hwcomp_agent.checks"), import_module("hwcomp_agent.sessions")

    def parts(state: Any, request: Header, blobs: list[bytes]) -> tuple[Any, Header, int]:
        return state.model(request), checks.feed(request, blobs), checks.threads(request)

    def time(state: Any, request: Header, blobs: list[bytes]) -> tuple[Header, list[bytes]]:
        source, feed, threads = parts(state, request, blobs)
        runs = counter.settled(sessions.open_session(source, threads), feed)
        return {"runs": [run["counts"] for run in runs], "clocks": runs[-1]["clocks"]}, []

    def profile(state: Any, request: Header, blobs: list[bytes]) -> tuple[Header, list[bytes]]:
        source, feed, threads = parts(state, request, blobs)
        with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
            session = sessions.open_session(source, threads, folder)
            run = counter.settled(session, feed)[-1]
            events = json.loads(Path(session.end_profiling()).read_text())
            del session
            graph = (Path(folder) / "optimized.onnx").read_bytes()
        return {"clocks": run["clocks"], "kernels": _last_kernels(events, sessions.KERNEL_SUFFIX)}, [graph]

    return {"time": time, "profile": profile}


def _last_kernels(events: list[Header], suffix: str) -> list[str]:
    """Return the names of the kernels of the last run, in the order in which they ended."""
    ends = [index for index, event in enumerate(events) if event.get("name") == "model_run"]
    last = events[ends[-2] + 1 : ends[-1]]
    names = [event["name"] for event in last if event.get("cat") == "Node"]
    return [name[: -len(suffix)] for name in names if name.endswith(suffix)]


def main() -> None:
    """Answer requests as the agent does."""
    sys.path.insert(0, sys.argv[2])
    import_module("hwcomp_agent.verbs").VERBS.update(counting_verbs(Counter(sys.argv[1])))
    import_module("hwcomp_agent.serving").serve()


if __name__ == "__main__":
    main()
