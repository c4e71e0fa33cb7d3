"""What the benchmarks share: the machine's description, and results as JSON with date and machine."""

import datetime as dt
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hwcomp.evaluation import Runner, accuracies
from hwcomp.fingerprint import environment
from hwcomp.lowering.onnx_export import export_float
from hwcomp.program import Program
from hwcomp.subject import to_bytes
from hwcomp.workload import Workload, samples

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results")


def save(name: str, content: dict[str, Any]) -> Path:
    """Write results with the machine and the date, and return the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    today = dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
    path.write_text(json.dumps({"date": today, "machine": environment(), **content}, indent=2) + "\n")
    return path


def read(name: str) -> dict[str, Any] | None:
    """Return saved results, or None."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def hwcomp_command() -> str:
    """Return the installed command beside this Python."""
    import sys

    return os.fspath(Path(sys.executable).with_name("hwcomp"))


def claim(path: Path) -> bool:
    """Return whether a run is this process's: nobody has done it, or is doing it; its result goes to the path."""
    lock = path.with_suffix(".lock")
    if path.exists():
        return False
    try:
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        if Path(f"/proc/{lock.read_text() or 0}").exists():
            return False
        handle = os.open(lock, os.O_TRUNC | os.O_WRONLY)
    with os.fdopen(handle, "w") as file:
        file.write(str(os.getpid()))
    return True


@dataclass(frozen=True)
class FewBatches:
    """Training data of so many batches; every pass shuffles the whole anew, so passes differ."""

    source: Callable[[], Iterable[Any]]
    steps: int

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        return islice(self.source(), self.steps)


def test_accuracy(workload: Workload, network: Program) -> float:
    """Return the accuracy on the test images, of the exported network."""
    assert workload.eval_data is not None
    labelled = samples(workload.eval_data() or [], workload.example_inputs)
    (score,) = accuracies([Runner(to_bytes(export_float(network)), threads=1)], labelled, workload.metric)
    return score
