"""Post-training search: exact choice under a budget, then verify and repair by measurement.

Needs no labels. Proposals come from the knapsack over the cost table; each is lowered and checked for real, and where
a limit is missed the next proposal is made under a tighter one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hwcomp.config import Budget
from hwcomp.cost import CostTable
from hwcomp.search.knapsack import Sensitivity, solve
from hwcomp.space import Assignment

METHOD = "post_training"
MAX_ATTEMPTS = 6

WORTH_A_TRY = 0.02
"""Share of latency that another proposal must promise to save, where no limit asks for it."""

DISTANCE_PER_POINT = 0.3
"""Relative distance of the outputs that is allowed for each point of the metric where there are no labels to ask.

At the lenient end of what was measured, see docs/decisions/0004-output-distance.md.
"""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An assignment that was lowered and checked.

    Attributes:
        assignment: site -> scheme.
        model: the ONNX file.
        predicted_us: by the table as it was before the candidate was measured.
        latency_us: measured, or by the table for a device that is not here.
        speedup: over the float baseline in the same rounds.
        distance: relative distance of the outputs from the float network's, on calibration inputs.
        drop: points of the metric lost on validation samples; None without them.
    """

    assignment: Mapping[str, str]
    model: bytes = field(repr=False)
    predicted_us: float
    latency_us: float
    speedup: float
    distance: float
    drop: float | None

    def is_accurate(self, budget: Budget) -> bool:
        """Return whether it loses no more than allowed, by labels if there are any, else by distance."""
        if budget.max_drop is None:
            return True
        if self.drop is not None:
            return self.drop <= budget.max_drop
        return self.distance <= budget.max_drop * DISTANCE_PER_POINT

    def is_fast(self, budget: Budget) -> bool:
        """Return whether it meets the latency or speed-up that was asked for."""
        if budget.kind == "latency":
            return self.latency_us <= budget.value
        return budget.kind == "fastest" or self.speedup >= budget.value


Check = Callable[[Assignment, float], Candidate]
Refine = Callable[[Candidate], CostTable]


def search(
    table: CostTable, sensitivity: Sensitivity, budget: Budget, check: Check, refine: Refine, float_us: float
) -> list[Candidate]:
    """Return the candidates that were tried, the best last.

    Args:
        table: latencies.
        sensitivity: of every rounding.
        budget: what must be met.
        check: lowers an assignment, whose predicted latency it is told, and measures it.
        refine: returns a table that also knows what a candidate took where.
        float_us: latency of the float baseline when the table was made.
    """
    tried: list[Candidate] = []
    limit = _Limits.start(budget, float_us)
    for _ in range(MAX_ATTEMPTS):
        assignment = _propose(table, sensitivity, budget, limit)
        if assignment is None or _is_nothing_new(assignment, tried, table, budget):
            break
        candidate = check(assignment, table.predict_us(assignment))
        tried.append(candidate)
        if not candidate.is_accurate(budget):
            limit = limit.closer(candidate, budget, sensitivity.total(table, assignment))
        elif not candidate.is_fast(budget):
            table = refine(candidate)
            limit = limit.faster(candidate, budget)
        elif budget.kind == "fastest":
            table = refine(candidate)
        else:
            break
    return sorted(tried, key=lambda candidate: _rank(candidate, budget))


def _is_nothing_new(assignment: Assignment, tried: list[Candidate], table: CostTable, budget: Budget) -> bool:
    """Return whether a proposal was tried, or promises too little over those that were."""
    if any(assignment == candidate.assignment for candidate in tried):
        return True
    accurate = [table.predict_us(candidate.assignment) for candidate in tried if candidate.is_accurate(budget)]
    promised = table.predict_us(assignment)
    return budget.kind == "fastest" and bool(accurate) and promised > (1 - WORTH_A_TRY) * min(accurate)


def _rank(candidate: Candidate, budget: Budget) -> tuple[bool, bool, float]:
    """Order candidates: first those that lose too much, then those too slow, then by what the budget leaves open."""
    fast, accurate = candidate.is_fast(budget), candidate.is_accurate(budget)
    if budget.kind == "fastest" or not fast:
        return accurate, fast, candidate.speedup
    return accurate, fast, -candidate.distance


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """What proposals must meet; tightened from attempt to attempt.

    Attributes:
        latency_us: by the table; None for no limit.
        squared_distance: by the sum of sensitivities; None for no limit.
    """

    latency_us: float | None
    squared_distance: float | None

    @classmethod
    def start(cls, budget: Budget, float_us: float) -> "_Limits":
        wanted = {"latency": budget.value, "speedup": float_us / max(budget.value, 1e-9), "fastest": None}
        return cls(latency_us=wanted[budget.kind], squared_distance=None)

    def closer(self, candidate: Candidate, budget: Budget, squared: float) -> "_Limits":
        """Allow less distance: in proportion to how far the allowed drop was missed, at most half as much."""
        assert budget.max_drop is not None
        if candidate.drop is not None:
            share = 0.5 * budget.max_drop / max(candidate.drop, 1e-9)
        else:
            share = (budget.max_drop * DISTANCE_PER_POINT / max(candidate.distance, 1e-9)) ** 2
        return _Limits(latency_us=self.latency_us, squared_distance=squared * max(0.02, min(0.85, 0.9 * share)))

    def faster(self, candidate: Candidate, budget: Budget) -> "_Limits":
        """Ask for less latency than before, by how far the budget was missed and a little more."""
        assert self.latency_us is not None
        missed = candidate.latency_us / budget.value if budget.kind == "latency" else budget.value / candidate.speedup
        return _Limits(latency_us=self.latency_us / missed * 0.98, squared_distance=self.squared_distance)


def _propose(table: CostTable, sensitivity: Sensitivity, budget: Budget, limit: _Limits) -> dict[str, str] | None:
    if budget.kind == "fastest":
        return solve(table, sensitivity, max_distance=limit.squared_distance)
    assert limit.latency_us is not None
    found = solve(table, sensitivity, max_latency_us=limit.latency_us)
    # the table may be pessimistic: the fastest point it knows is worth measuring before giving up
    return found if found is not None else solve(table, sensitivity)
