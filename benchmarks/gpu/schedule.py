"""Runs the cases of a bundle one after another, each in a process of its own, until they or the time are over."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from cases import NEEDS, ROOT, STEPS, Case, all_cases, bundle
from record import agent, failure, read, write

DONE, FAILED, UNUSABLE, LATE, INTERRUPTED = 0, 1, 2, 3, 130
LOOK_S = 0.5
GRACE_S = 20.0
"""For a case whose time is over: a training writes its checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was asked for.

    Attributes:
        out: folder of results.
        rehearse: tiny sizes on the processor.
        end: when to be done, by the monotonic clock.
        jobs: trainings at a time.
        stopped: set once Ctrl-C was pressed.
    """

    out: Path
    rehearse: bool
    end: float
    jobs: int
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def left_s(self) -> float:
        """Seconds until the end."""
        return 0.0 if self.stopped.is_set() else self.end - time.monotonic()

    def path(self, case: Case) -> Path:
        """Return where the result of a case lies."""
        return self.out / f"{case.name}.json"


def run_here(description: str) -> int:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of results; what is done there is not repeated")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP")
    parser.add_argument("--jobs", type=int, default=4, help="trainings at a time")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the processor; no number counts")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        from case import run_case

        return run_case(options.case, options.out, rehearse=options.rehearse)
    cases = [case for case in all_cases(rehearse=options.rehearse) if case.step in options.only]
    refusal = _refusal(options.out, rehearse=options.rehearse)
    if refusal:
        print(f"run.py: {refusal}", file=sys.stderr)
        return UNUSABLE
    (options.out / "logs").mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    plan = Plan(out=options.out.resolve(), rehearse=options.rehearse, end=end, jobs=options.jobs)
    try:
        return _run_all(plan, cases)
    except KeyboardInterrupt:
        print("interrupted; what is done is kept, and the same command goes on", file=sys.stderr)
        return INTERRUPTED


def _refusal(out: Path, *, rehearse: bool) -> str:
    """Return why nothing can run here, and print what is missing for some steps."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != bundle()["python"]:
        return f"the bundle is for Python {bundle()['python']}, and this is {here}; build one with --python {here}."
    for path in out.glob("*.json") if out.is_dir() else ():
        if (read(path) or {}).get("rehearsal") is not rehearse:
            kinds = ("measurements", "a rehearsal") if rehearse else ("a rehearsal", "measurements")
            return f"{out} holds {kinds[0]}, which do not mix with {kinds[1]}; give another folder."
    found, why = agent("gpus").gpus()
    if not rehearse and not found:
        return f"{why}; run it where one is, or add --rehearse to try it on the processor."
    missing = [name for name in bundle()["expected"] if find_spec(MODULES.get(name, name)) is None]
    if missing:
        print(f"Missing here: {', '.join(missing)}; steps that need them will say so.")
    return ""


MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "onnx-ir": "onnx_ir"}


def _run_all(plan: Plan, cases: Sequence[Case]) -> int:
    todo = [case for case in cases if not (read(plan.path(case)) or {}).get("ok")]
    print(f"{len(cases) - len(todo)} of {len(cases)} cases are done already", flush=True)
    codes = [_run(plan, case, 1) for case in todo if not case.together]
    with ThreadPoolExecutor(plan.jobs) as pool:
        try:
            codes += pool.map(lambda case: _run(plan, case, plan.jobs), [case for case in todo if case.together])
        except KeyboardInterrupt:
            plan.stopped.set()
            raise
    failed, late = codes.count(FAILED), codes.count(LATE)
    print(f"{codes.count(DONE)} done, {failed} failed, {late} had no time", flush=True)
    return FAILED if failed else LATE if late else DONE


def _run(plan: Plan, case: Case, jobs: int) -> int:
    lacking = [name for name in NEEDS[case.step] if find_spec(name) is None and not plan.rehearse]
    if lacking:
        return _failed(plan, case, f"'{case.step}' needs the Python module {', '.join(lacking)}, which is not here.")
    if plan.left_s < case.least_s:
        return LATE
    print(f"{case.name} ...", flush=True)
    log = plan.out / "logs" / f"{case.name}.txt"
    command = [sys.executable, str(ROOT / "run.py"), "--case", case.name, "--out", str(plan.out)]
    threads = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    plan.path(case).unlink(missing_ok=True)  # a failure of before
    with log.open("w") as stream:
        process = subprocess.Popen(
            command + ["--rehearse"] * plan.rehearse, stdout=stream, stderr=stream, env=environment
        )
        is_late = _wait(process, plan)
    found = read(plan.path(case))
    if found is None and is_late:
        return LATE
    if found is None:
        lines = log.read_text().strip().splitlines() or ["it said nothing"]
        return _failed(plan, case, f"The process ended with code {process.returncode}: {lines[-1]}")
    if not found["ok"]:
        print(f"{case.name}: {found['error']}", flush=True)
    return DONE if found["ok"] else FAILED


def _wait(process: "subprocess.Popen[bytes]", plan: Plan) -> bool:
    """Wait for a process, and end it when the time is over; return whether that was so."""
    try:
        while process.poll() is None and plan.left_s > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
        return process.poll() is None
    finally:  # Ctrl-C, too
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failed(plan: Plan, case: Case, error: str) -> int:
    write(plan.path(case), failure(case.step, rehearse=plan.rehearse, error=error))
    print(f"{case.name}: {error}", flush=True)
    return FAILED
