"""Which database belongs to a setting, and the plans that a compilation takes from it."""

import hashlib
import importlib.metadata
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from hwcomp.devices import LOCAL, open_device
from hwcomp.errors import InputError
from hwcomp.lowering.plan import Plan
from hwcomp.sparse_kernels.tir_build import Vectors
from hwcomp.store.database import store_path
from hwcomp.tuning.database import Database
from hwcomp.tuning.records import Setting

FOLDER = "tuning"
"""Beside the latency store: what was measured is no cache, and nothing drops it."""

SOURCES = ("plan.py", "relax_plans.py", "relax_schedule.py")
"""Code that makes schedules of plans."""


def setting_here(vectors: Vectors, threads: int) -> Setting:
    """Return the setting of measurements on this machine.

    Args:
        vectors: that are compiled for.
        threads: that share the work.
    """
    with open_device(LOCAL) as device:
        fingerprint = device.facts().fingerprint
    return Setting(
        tvm=importlib.metadata.version("apache-tvm"),
        device=fingerprint,
        vectors=vectors.cpu,
        threads=threads,
        schedules=_schedules(),
    )


@cache
def _schedules() -> str:
    folder = Path(__file__).parents[1] / "lowering"
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in SOURCES)).hexdigest()[:12]


def default_path(setting: Setting) -> Path:
    """Return where the database of a setting lies if none is named."""
    name = hashlib.sha256(repr(sorted(asdict(setting).items())).encode()).hexdigest()[:12]
    return store_path().parent / FOLDER / f"tvm-{setting.tvm}-{setting.vectors}-threads-{setting.threads}-{name}.jsonl"


class Tuned:
    """The plans of a database for the functions of one network; it counts them.

    Args:
        database: None for no plans at all.
    """

    def __init__(self, database: Database | None) -> None:
        self._database = database
        self.asked, self.found = 0, 0

    def plan_of(self, function: Any) -> Plan | None:
        """Return the plan that makes a function faster, None if none is known to."""
        if self._database is None:
            return None
        from hwcomp.tuning.tasks import key_of  # noqa: PLC0415 - imports TVM

        plan = self._database.plan(key_of(function))
        self.asked, self.found = self.asked + 1, self.found + (plan is not None)
        return plan

    @property
    def told(self) -> str:
        """What was used, for the line of the compilation; "" if nothing was tuned."""
        return "" if not self._database else f", {self.found} of {self.asked} functions tuned"


def tuned_for(vectors: Vectors, threads: int, path: Path | None, *, is_here: bool) -> Tuned:
    """Return the plans for a compilation.

    Args:
        vectors: of the target.
        threads: that share the work.
        path: of the database; None for the one of this setting, if there is one.
        is_here: whether the library is for this machine; there are plans for no other.

    Raises:
        InputError: the database is of another setting, damaged, or not there.
    """
    if path is None and not is_here:
        return Tuned(None)
    if path is not None and not is_here:
        raise InputError(
            "--database holds schedules that were measured on this machine, and the target is another one."
        )
    if path is not None and not path.exists():
        raise InputError(f"There is no tuning database '{path}'; make it with `hwcomp tune MODEL --database {path}`.")
    setting = setting_here(vectors, threads)
    return Tuned(Database(path or default_path(setting), setting))
