"""One case, in a process of its own: what it finds, or why it could not, as JSON."""

import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from cases import all_cases, bundle
from record import gpus, machine, now, write

PARTS = {"compiled": "latency", "training": "schedules"}
"""Step -> its module, where the name differs; it has the prefix ``step_``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where a case runs, and how long it measures.

    Attributes:
        rehearse: tiny sizes, on the processor.
        step: name of the step.
        out: folder of results.
    """

    rehearse: bool
    step: str
    out: Path

    @property
    def device(self) -> str:
        """Where it computes, as PyTorch names it."""
        return "cpu" if self.rehearse else "cuda"

    @property
    def rounds(self) -> int:
        """Rounds of interleaved blocks."""
        return 3 if self.rehearse else 15

    @property
    def block_s(self) -> float:
        """Seconds of a block."""
        return 0.002 if self.rehearse else 0.1

    @property
    def warm_s(self) -> float:
        """Most seconds until the clocks have settled."""
        return 0.01 if self.rehearse else 10.0


def run_case(name: str, out: Path, *, rehearse: bool) -> int:
    """Run a case and write its result; return 0 if it succeeded."""
    (case,) = [one for one in all_cases(rehearse=rehearse) if one.name == name]
    setting = Setting(rehearse=rehearse, step=case.step, out=out)
    result: dict[str, Any] = {"rehearsal": rehearse, "step": case.step, "date": now(), "options": case.options}
    result |= {"machine": machine(), "before": gpus()}
    start = time.monotonic()
    try:
        if case.step == "facts":
            result["result"] = {"left_out": bundle()["left_out"], "libraries": bundle()["libraries"]}
        else:
            module = import_module(f"step_{PARTS.get(case.step, case.step)}")
            result["result"] = module.run(setting, **case.options)
        result["ok"] = True
    except Exception as error:  # noqa: BLE001 - whatever it was, the other cases go on
        traceback.print_exc()
        result |= {"ok": False, "error": _sentence(error)}
    write(out / f"{name}.json", {**result, "seconds": time.monotonic() - start, "after": gpus()})
    return 0 if result["ok"] else 1


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
