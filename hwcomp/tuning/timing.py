"""Times functions in a process of their own, which is started again when it is lost."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwcomp.lowering.plan import Plan

START_S, TRIAL_S = 300.0, 60.0
"""How long to wait for a new process and the first time, and for a trial; a busy machine is slow to import TVM."""

ROOT = Path(__file__).parents[2]
"""Where Python finds hwcomp; another folder might hold files that hide modules."""


class Timing:
    """Times functions; `close` ends the process.

    Args:
        target: of TVM, as a dictionary.
        lanes: floats of a vector.
        threads: that share the work.
    """

    def __init__(self, target: Mapping[str, Any], lanes: int, threads: int) -> None:
        self._about_machine = {"target": dict(target), "lanes": lanes, "threads": threads}
        self._environment = {**os.environ, "TVM_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        self._process: subprocess.Popen[bytes] | None = None
        self._about: str | None = None

    def close(self) -> None:
        """End the process."""
        process, self._process, self._about = self._process, None, None
        if process is not None:
            process.kill()
            process.communicate()

    def default_us(self, function: str) -> float | None:
        """Return the time of a function without a plan, None if it does not compile or run.

        Args:
            function: JSON of TVM.
        """
        self._about = None
        answer = self._ask({"function": function, **self._about_machine}, START_S)
        self._about = function if "us" in answer else None
        return answer.get("us")

    def compare(self, function: str, plan: Plan, rounds: int) -> tuple[float | None, float | None]:
        """Return the time by a plan in microseconds and its ratio to that without one; both None if it fails.

        Args:
            function: JSON of TVM.
            plan: to schedule it by.
            rounds: of both, in turn.
        """
        if self._about != function and self.default_us(function) is None:
            return None, None
        answer = self._ask({"plan": plan.as_json(), "rounds": rounds}, TRIAL_S)
        return answer.get("us"), answer.get("ratio")

    def _ask(self, request: Mapping[str, Any], patience_s: float) -> dict[str, Any]:
        """Return the answer to a request, without "us" if the process was lost over it."""
        if self._process is None:
            self._process = self._started()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._line(self._process, patience_s))
        except (BrokenPipeError, TimeoutError, EOFError):
            self.close()
            return {}
        return answer

    def _started(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "hwcomp.tuning.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=ROOT,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
        )

    @staticmethod
    def _line(process: "subprocess.Popen[bytes]", patience_s: float) -> bytes:
        """Return the next line of a process.

        Raises:
            TimeoutError: it does not come.
            EOFError: the process ended.
        """
        assert process.stdout is not None
        line, deadline = b"", time.monotonic() + patience_s
        while not line.endswith(b"\n"):
            if not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            read = os.read(process.stdout.fileno(), 65536)
            if not read:
                raise EOFError
            line += read
        return line
