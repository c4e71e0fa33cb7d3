"""One network with its precision chosen, and everything that was found out about it."""

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
