"""One network with its precision chosen, and everything that was found out about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from hwcomp.benches import Bench
from hwcomp.benches.base import Final
from hwcomp.cost import CostTable
from hwcomp.prepared import Prepared
from hwcomp.search.knapsack import Sensitivity
from hwcomp.search.shrunk import Shrunk
from hwcomp.space import Assignment


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A network with its precision chosen and its final numbers.

    Attributes:
        shrunk: the network.
        prepared: the same, ready for search.
        bench: where it was measured.
        table: what was chosen by.
        sensitivity: likewise.
        final: what was chosen, and its numbers.
    """

    shrunk: Shrunk
    prepared: Prepared
    bench: Bench
    table: CostTable
    sensitivity: Sensitivity
    final: Final

    @property
    def met(self) -> bool:
        """Whether the budget holds."""
        return self.final.met

    @property
    def latency_us(self) -> float:
        """Latency of the compiled network."""
        return self.final.compiled.median_us

    @property
    def wanted_us(self) -> float:
        """Latency that meets the budget, by the float network's in the same rounds."""
        budget = self.bench.context.config.budget
        return budget.value if budget.kind == "latency" else self.latency_us * self.final.speedup / budget.value

    @property
    def assignment(self) -> Assignment:
        """The schemes that were chosen."""
        return self.final.candidate.assignment


def best_of(attempts: Sequence[Attempt]) -> Attempt:
    """Return the last attempt that met the user's budget, or the fastest one."""
    asked = [one for one in attempts if not _is_easier(one, attempts)]
    met = [one for one in asked if one.met]
    return met[-1] if met else max(asked, key=lambda one: one.final.speedup)


def easier(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return for each easier budget, in order, the last attempt that met it."""
    found: dict[float, Attempt] = {}
    for one in attempts:
        if one.met and one.shrunk.budget is not None and _is_easier(one, attempts):
            found[one.shrunk.budget.value] = one
    return list(found.values())


def _is_easier(attempt: Attempt, attempts: Sequence[Attempt]) -> bool:
    """Return whether an attempt had another budget than the first one, which always has the user's."""
    return attempt.shrunk.budget not in (None, attempts[0].bench.context.config.budget)
