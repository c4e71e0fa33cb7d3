"""The bench of a device that is not here: latencies are a cost model's and carry its provenance.

Outputs and accuracy are still those of the real ONNX file, run here.
"""

from typing import final

from hwcomp.benches.base import Bench, Context, Final, describe
from hwcomp.cost import CostTable
from hwcomp.kernels import kernels_of, search_space
from hwcomp.known_tables import KnownTables
from hwcomp.measurement import estimated
from hwcomp.search.post_training import Candidate
from hwcomp.space import Assignment
from hwcomp.store import Store
from hwcomp.subject import network_hash


@final
class PaperBench(Bench):
    """Estimates for a device that is not here."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        prepared, config = context.prepared, context.config
        tables = KnownTables(target=prepared.target, store=Store(config.store), threads=config.threads)
        self.known = tables.best(prepared.space, prepared.kernels, prepared.subject.network)
        self.table, self.threads = self.known.table, self.known.threads
        self.float_us = self._original_us(tables)

    def _original_us(self, tables: KnownTables) -> float:
        """Return the latency of the original float network, which may be larger than the one that is quantised."""
        prepared = self.context.prepared
        if prepared.original is prepared.program:
            return self.table.predict_us({})
        space, kernels = search_space(prepared.original), kernels_of(prepared.original, prepared.target.activation)
        return tables.best(space, kernels, network_hash(space, kernels)).table.predict_us({})

    def cost_table(self) -> CostTable:
        """Return the best table that is known of the target."""
        name, threads = (
            self.context.prepared.target.name,
            "1 thread" if self.threads == 1 else f"{self.threads} threads",
        )
        self.context.reporter.stage("Table").done(f"{name}, {threads}: {self.table.provenance}: {self.known.source}")
        return self.table

    def check(self, assignment: Assignment, predicted_us: float) -> Candidate:
        """Lower an assignment, estimate its latency and see what it computes."""
        stage = self.context.reporter.stage("Try")
        model = self.context.prepared.lower(assignment)
        latency_us = self.table.predict_us(assignment)
        candidate = Candidate(
            assignment=assignment,
            model=model,
            predicted_us=predicted_us,
            latency_us=latency_us,
            speedup=self.float_us / latency_us,
            distance=self.distance(model),
            drop=self.drop(model, 1000.0),
        )
        stage.done(describe(candidate) + f" ({self.table.provenance})")
        return candidate

    def refine(self, candidate: Candidate) -> CostTable:  # noqa: ARG002
        """Return the same table: nothing was measured."""
        return self.table

    def conclude(self, tried: list[Candidate]) -> Final:
        """Return the best candidate, or the float network where nothing is estimated to be faster."""
        best = self.best_usable(tried)
        is_plain = best.speedup <= 1.0 or not self._usable(best)
        if is_plain:
            best = self.plain_candidate(self.float_us)
        accuracy = self.accuracy(best.model)
        provenance = self.table.provenance
        return Final(
            candidate=best,
            is_plain=is_plain,
            baseline=estimated(self.float_us, self.threads, provenance),
            compiled=estimated(best.latency_us, self.threads, provenance),
            ratios=[],
            speedup=best.speedup,
            predicted_us=best.latency_us,
            profile=None,
            accuracy=accuracy,
            met=self.met(best, accuracy),
        )
