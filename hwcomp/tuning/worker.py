"""The process that compiles and times functions: a schedule that crashes it, or never ends, costs one trial.

One JSON object on each line of stdin, one answer on each line of stdout. ``{"function", "target", "lanes", "threads"}``
says what the next requests are about, and is answered by its time without a plan; ``{"plan", "rounds"}`` is answered by
the times by that plan and without one. An answer with "error" says why there is none.
"""

import json
import os
import sys
from typing import Any

import numpy as np
import tvm

from hwcomp.lowering.plan import Plan
from hwcomp.lowering.relax_plans import planned
from hwcomp.lowering.relax_schedule import scheduled

BLOCK_US = 4000.0
"""Time of the runs that are timed as one."""

MAX_RUNS = 2000
TOLERANCE = 1e-4
"""Of outputs, relative to the largest one: sums may be in another order."""


class Subject:
    """A function, compiled without a plan, that others are compared with.

    Args:
        function: without a schedule.
        target: of TVM.
        lanes: floats of a vector.
        threads: that share the work.
    """

    def __init__(self, function: Any, target: Any, lanes: int, threads: int) -> None:
        self.function, self.target, self.lanes, self.threads = function, target, lanes, threads
        self.arguments = [tvm.runtime.tensor(array) for array in _arrays(function)]
        self.default = self._compiled(scheduled(function, lanes, threads))
        self.default["main"](*self.arguments)
        self.expected = [argument.numpy() for argument in self.arguments]
        self.us = self._time_us(self.default, 1)
        self.runs = int(np.clip(BLOCK_US / max(self.us, 1e-3), 1, MAX_RUNS))
        self.us = self._time_us(self.default, self.runs)

    def compare(self, plan: Plan, rounds: int) -> dict[str, Any]:
        """Return the median time by a plan, and its median ratio to the time without one, paired within rounds."""
        other = self._compiled(planned(self.function, plan, self.lanes, self.threads))
        fresh = [tvm.runtime.tensor(array) for array in _arrays(self.function)]
        other["main"](*fresh)
        for found, expected in zip(fresh, self.expected, strict=True):
            if not _agree(found.numpy(), expected):
                return {"error": "it computes something else"}
        pairs = []
        for number in range(rounds):
            order = (self.default, other) if number % 2 else (other, self.default)
            times = [self._time_us(module, self.runs) for module in order]
            pairs.append(times if number % 2 else times[::-1])
        default, tuned = np.array(pairs).T
        return {"us": float(np.median(tuned)), "ratio": float(np.median(tuned / default))}

    def _compiled(self, function: Any) -> Any:
        module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
        return tvm.compile(module, target=self.target).mod

    def _time_us(self, module: Any, runs: int) -> float:
        timed = module.time_evaluator("main", tvm.cpu(), number=runs, repeat=1)(*self.arguments)
        return float(timed.mean) * 1e6


def _arrays(function: Any) -> list[Any]:
    """Return the arguments of a function: random floats, and zeros that may be indices of anything."""
    draw, arrays = np.random.default_rng(0), []
    for parameter in function.params:
        shape = [int(size) for size in parameter.ty.shape]
        dtype = np.dtype(str(parameter.dtype).removeprefix("T."))
        is_float = np.issubdtype(dtype, np.floating)
        arrays.append(draw.random(shape).astype(dtype) if is_float else np.zeros(shape, dtype))
    return arrays


def _agree(found: Any, expected: Any) -> bool:
    if not np.issubdtype(expected.dtype, np.floating):
        return bool(np.array_equal(found, expected))
    largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=1.0))
    return bool(np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * largest, equal_nan=True))


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what TVM and LLVM print is no answer
    subject: Subject | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "function" in request:
                target = tvm.target.Target(request["target"])
                subject = Subject(tvm.ir.load_json(request["function"]), target, request["lanes"], request["threads"])
                answer: dict[str, Any] = {"us": subject.us}
            else:
                assert subject is not None
                answer = subject.compare(Plan.from_json(request["plan"]), request["rounds"])
        except Exception as error:  # noqa: BLE001 - TVM raises classes of its own that share no base
            answer = {"error": str(error)[-500:]}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
