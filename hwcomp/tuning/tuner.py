"""The search: heaviest function first, plan by plan, until there is nothing left to try or no time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import tvm

from hwcomp.lowering.plan import Plan
from hwcomp.tuning.database import Database
from hwcomp.tuning.progress import Progress
from hwcomp.tuning.records import Trial
from hwcomp.tuning.space import space_of
from hwcomp.tuning.tasks import Task
from hwcomp.tuning.timing import Timing

MIN_US = 1.0
"""Functions that take less are left alone: that is what calling them takes."""

ROUNDS, FINAL_ROUNDS = 5, 25
"""Of a trial, and of the best ones in the end."""

FINALISTS = 3
"""Best plans that are measured at length: the very best of many short measurements was also lucky."""


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """Tunes the functions of a network.

    Attributes:
        tasks: what to tune.
        database: of what is known; every trial is kept there at once.
        timing: measures.
        progress: shows what is done.
        lanes: floats of a vector.
        threads: that share the work.
        deadline: when to stop, on the monotonic clock.
    """

    tasks: Sequence[Task]
    database: Database
    timing: Timing
    progress: Progress
    lanes: int
    threads: int
    deadline: float

    @property
    def is_over(self) -> bool:
        """Whether the time is."""
        return time.monotonic() >= self.deadline

    def run(self) -> None:
        """Tune everything that takes time, heaviest first."""
        for number, task in enumerate(self.weighed, 1):
            if self.is_over:
                return
            self.progress.begins(task, number, len(self.weighed))
            if self._search(task):
                self._decide(task)

    @property
    def told(self) -> str:
        """What is known in the end, in one sentence."""
        if not self.weighed and any(self.database.default_us(task.key) is None for task in self.tasks):
            return "the time was over before the functions were measured: run the same command again"
        if not self.weighed:
            return "nothing to tune: no function that TVM generates for this network takes a microsecond"
        finals = {task: self.database.final(task.key) for task in self.weighed}
        before = sum(self._total_us(task) for task in self.weighed)
        saved = sum(
            self._total_us(task) * (1 - final.ratio)
            for task, final in finals.items()
            if final is not None and final.ratio is not None and self.database.plan(task.key) is not None
        )
        faster = sum(self.database.plan(task.key) is not None for task in self.weighed)
        open_ones = sum(not self._is_done(task) for task in self.weighed)
        rest = f"; {open_ones} not finished: run the same command again" if open_ones else "; nothing is left to try"
        return (
            f"{faster} of {len(self.weighed)} functions faster, measured alone, together {before / 1e3:.2f} -> "
            f"{(before - saved) / 1e3:.2f} ms{rest}"
        )

    @cached_property
    def weighed(self) -> list[Task]:
        """The functions that take time, heaviest first; what was never measured before is measured."""
        heavy = [task for task in self.tasks if (self._default_us(task) or 0.0) >= MIN_US]
        return sorted(heavy, key=lambda task: -self._total_us(task))

    def _total_us(self, task: Task) -> float:
        """Return how long all calls of a function take without a plan."""
        return (self.database.default_us(task.key) or 0.0) * task.calls

    def _default_us(self, task: Task) -> float | None:
        self.progress.moves("measuring what there is")
        known = self.database.default_us(task.key)
        if known is None and not self.is_over:
            known = self.timing.default_us(_json(task))
            self.database.add(Trial(function=task.key, plan=None, us=known, ratio=None if known is None else 1.0))
        return known

    def _search(self, task: Task) -> bool:
        """Try plans of a function; return whether there is something to decide."""
        space = space_of(task.function, self.lanes, self.threads)
        while not self.is_over:
            tried = self.database.tried(task.key)
            plan = space.next_plan(tried, task.key)
            if plan is None:
                break
            us, ratio = self.timing.compare(_json(task), plan, ROUNDS)
            self.database.add(Trial(function=task.key, plan=plan, us=us, ratio=ratio))
            self.progress.tried(len(tried) + 1, min((r for r in [ratio, *tried.values()] if r), default=None))
        return self.database.final(task.key) is None

    def _is_done(self, task: Task) -> bool:
        tried = self.database.tried(task.key)
        is_tried = space_of(task.function, self.lanes, self.threads).next_plan(tried, task.key) is None
        return is_tried and self.database.final(task.key) is not None

    def _decide(self, task: Task) -> None:
        """Measure the best plans at length, and keep which is best."""
        good = {plan: ratio for plan, ratio in self.database.tried(task.key).items() if ratio is not None}
        finals: list[tuple[float, float, Plan]] = []
        for plan in sorted(good, key=good.__getitem__)[:FINALISTS]:
            self.progress.moves(f"{task.name}: measuring the best at length")
            us, ratio = self.timing.compare(_json(task), plan, FINAL_ROUNDS)
            if us is not None and ratio is not None:
                finals.append((ratio, us, plan))
        best = min(finals, key=lambda one: one[0], default=None)
        if best is not None:
            ratio, us, plan = best
            self.database.add(Trial(function=task.key, plan=plan, us=us, ratio=ratio, final=True))
        self.progress.decided(task, self.database.default_us(task.key), None if best is None else best[0])


def _json(task: Task) -> str:
    return str(tvm.ir.save_json(task.function))
