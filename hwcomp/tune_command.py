"""What ``hwcomp tune`` does: measures schedules of what TVM generates for a network, and keeps them."""

import time
from contextlib import closing
from math import inf
from pathlib import Path

from rich.console import Console

from hwcomp.console import Reporter
from hwcomp.devices import LOCAL, open_device
from hwcomp.errors import InputError
from hwcomp.fix import fix, plan
from hwcomp.matching import check_matches
from hwcomp.pipeline import traced
from hwcomp.sparse_kernels.tir_build import Vectors, vectors_of
from hwcomp.target import Target, load
from hwcomp.tuning.database import Database
from hwcomp.tuning.lookup import default_path, setting_here
from hwcomp.workload import Workload, load_workload


def tune(model: str, *, target: str, threads: int | None, minutes: float, device: str, database: Path | None) -> None:
    """Tune a network, until there is nothing left to try or the time is over.

    Raises:
        InputError: an option makes no sense, the target is not this machine, or the database is not for it.
    """
    if not 0 < minutes < inf:
        raise InputError(f"--minutes must be more than 0; found {minutes:g}.")
    wanted = load(target)
    _check_is_here(wanted, device)
    vectors, used = vectors_of(wanted.isa), threads or wanted.hardware.cores
    setting = setting_here(vectors, used)
    kept, reporter = Database(database or default_path(setting), setting), Reporter(Console())
    _search(load_workload(model), wanted, vectors, kept, 60 * minutes, reporter)


def _check_is_here(target: Target, device: str) -> None:
    """Refuse what cannot be measured on this machine."""
    if device != LOCAL:
        raise InputError(f"--device {device}: schedules are measured on this machine only; run `hwcomp tune` there.")
    if target.gpu is not None:
        raise InputError(f"The target '{target.name}' is a GPU; schedules are tuned for processors only.")
    if not target.local:
        with open_device(LOCAL) as here:
            try:
                check_matches(here, target)
            except InputError as error:
                raise InputError(
                    f"Schedules are measured on this machine, and it is no '{target.name}': run `hwcomp tune` there, "
                    "or give --target host."
                ) from error


def _search(
    workload: Workload, target: Target, vectors: Vectors, kept: Database, seconds: float, reporter: Reporter
) -> None:
    """Find the functions, tune them, and print what came of it."""
    program = traced(workload, target, reporter)
    threads, stage = kept.setting.threads, reporter.stage("Lower")
    with stage.bar(f"TVM, for {vectors.cpu}", total=None):
        from hwcomp.lowering.tvm import relax_module, target_of  # noqa: PLC0415 - TVM takes seconds to import
        from hwcomp.tuning.progress import Progress  # noqa: PLC0415 - likewise
        from hwcomp.tuning.tasks import tasks_of  # noqa: PLC0415 - likewise
        from hwcomp.tuning.timing import Timing  # noqa: PLC0415 - likewise
        from hwcomp.tuning.tuner import Tuner  # noqa: PLC0415 - likewise

        tasks = tasks_of(relax_module(fix(program, plan(program, {}, {}, {})), vectors, threads))
    stage.done(f"{len(tasks)} functions that TVM generates; {len(kept)} measurements of such known")
    progress = Progress(reporter.console, seconds)
    with closing(Timing(target_of(vectors, threads), vectors.lanes, threads)) as timing:
        tuner = Tuner(
            tasks=tasks, database=kept, timing=timing, progress=progress, lanes=vectors.lanes, threads=threads,
            deadline=time.monotonic() + seconds,
        )  # fmt: skip
        stage = reporter.stage("Tune")
        with progress.shown():
            tuner.run()
        stage.done(tuner.told)
    if tuner.weighed:
        reporter.console.print(f"{'':<10}{kept.path}", highlight=False, soft_wrap=True)
