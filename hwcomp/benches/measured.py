"""The bench of a device that is at hand, here or over ssh: everything is timed in real, interleaved runs."""

from dataclasses import replace
from typing import final

from hwcomp.benches.base import Bench, Context, Final, describe
from hwcomp.cost import CostTable
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.entries import Profile, as_profile
from hwcomp.latency_table import Tabulator
from hwcomp.measurement import Comparison
from hwcomp.refinement import refined
from hwcomp.search.post_training import Candidate
from hwcomp.space import Assignment
from hwcomp.store import Store

CHECK_ROUNDS, FINAL_ROUNDS = 3, 8
PLAIN, FLOAT_GRAPH, COMPILED = "plain", "float", "compiled"


@final
class MeasuredBench(Bench):
    """Measures on a device.

    Attributes:
        device: where.
    """

    def __init__(self, context: Context, device: Device) -> None:
        super().__init__(context)
        self.device = device
        self._table: CostTable | None = None

    def cost_table(self) -> CostTable:
        """Return the table of the store, completed and corrected by measurements on the device."""
        context, prepared = self.context, self.context.prepared
        stage = context.reporter.stage("Table")
        pair = {PLAIN: prepared.plain, FLOAT_GRAPH: prepared.lower(prepared.space.everywhere())}
        with stage.bar("timing the float network", total=2 * CHECK_ROUNDS) as bar:
            timed = compare(self.device, pair, prepared.feed, context.threads, CHECK_ROUNDS, bar.advance)
        self.float_us = timed.fastest_us(PLAIN)
        tabulator = Tabulator(
            subject=prepared.subject,
            devices=(self.device,),
            store=Store(context.config.store),
            threads=context.threads,
            float_us=self.float_us / timed.speedup(FLOAT_GRAPH),
            seed=context.config.seed,
            stage=stage,
        )
        tabled = tabulator.table()
        where = f"{self.device.name}, {tabulator.setting.runtime}, {context.threads} threads"
        stage.done(f"{where}: {tabled}")
        self._table = tabled.table
        return tabled.table

    def check(self, assignment: Assignment, predicted_us: float) -> Candidate:
        """Lower an assignment, time it against the baseline and see what it computes."""
        model = self.context.prepared.lower(assignment)
        stage = self.context.reporter.stage("Try")
        timed = self._compared(model, CHECK_ROUNDS)
        latency_us = timed.measurement(COMPILED).median_us
        candidate = Candidate(
            assignment=assignment,
            model=model,
            predicted_us=predicted_us,
            latency_us=latency_us,
            speedup=timed.speedup(COMPILED),
            distance=self.distance(model),
            drop=self.drop(model, latency_us),
        )
        stage.done(describe(candidate))
        return candidate

    def refine(self, candidate: Candidate) -> CostTable:
        """Profile a candidate and return the table that knows where its time goes."""
        assert self._table is not None, "the table comes first"
        self._table = refined(self._table, self._profile(candidate), self.float_us / candidate.speedup)
        return self._table

    def conclude(self, tried: list[Candidate]) -> Final:
        """Time the best against the baseline in many rounds; keep the baseline if it is not beaten."""
        best = self.best_usable(tried)
        stage = self.context.reporter.stage("Verify")
        timed = self._compared(best.model, FINAL_ROUNDS)
        is_plain = best.model == self.context.prepared.plain or timed.speedup(COMPILED) <= 1.0 or not self._usable(best)
        if is_plain:
            best = self.plain_candidate(timed.measurement(PLAIN).median_us)
        name = PLAIN if is_plain else COMPILED
        measured = timed.measurement(name)
        best = replace(best, latency_us=measured.median_us, speedup=timed.speedup(name))
        stage.done(
            f"{measured.median_us / 1e3:.3f} ms measured (p10 {measured.p10_us / 1e3:.3f}, "
            f"p90 {measured.p90_us / 1e3:.3f}, {measured.runs} runs), {timed.speedup(name):.2f}x"
        )
        for remark in self.remarks():
            stage.note(remark)
        return self._finished(best, timed, name)

    def close(self) -> None:
        """Close the device."""
        self.device.close()

    def remarks(self) -> list[str]:
        """Return what the device has to say about its measurements."""
        return self.device.remarks()

    def _compared(self, model: bytes, rounds: int) -> Comparison:
        """Time a network against the baseline in interleaved rounds."""
        prepared, stage = self.context.prepared, self.context.reporter.stage("")
        pair = {PLAIN: prepared.plain, COMPILED: model}
        with stage.bar("interleaved runs", total=2 * rounds) as bar:
            return compare(self.device, pair, prepared.feed, self.context.threads, rounds, bar.advance)

    def _profile(self, candidate: Candidate) -> Profile:
        feed, threads = self.context.prepared.feed, self.context.threads
        times = self.device.profile(candidate.model, feed, threads, candidate.latency_us)
        return as_profile("candidate", candidate.assignment, times)

    def _finished(self, best: Candidate, timed: Comparison, name: str) -> Final:
        is_plain = name == PLAIN
        accuracy = self.accuracy(best.model)
        baseline = timed.measurement(PLAIN)
        predicted = best.predicted_us * baseline.median_us / self.float_us
        return Final(
            candidate=best,
            is_plain=is_plain,
            baseline=baseline,
            compiled=timed.measurement(name),
            ratios=timed.ratios(name),
            speedup=timed.speedup(name),
            predicted_us=baseline.median_us if is_plain else predicted,
            profile=None if is_plain else self._profile(best),
            accuracy=accuracy,
            met=self.met(best, accuracy),
        )
