"""The bench of a device that is this machine: everything is timed in real, interleaved runs."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from statistics import median
from typing import Any, final

from hwcomp.benches.base import Bench, Context, Final, describe
from hwcomp.cost import CostTable
from hwcomp.cost_models.lookup import PURE, Lookup
from hwcomp.devices.compare import compare
from hwcomp.devices.local import LocalDevice
from hwcomp.fingerprint import environment
from hwcomp.kernels import kernels_of
from hwcomp.lowering.onnxruntime import Owner
from hwcomp.measurement import Comparison
from hwcomp.profiling import CONTROL, HELD_OUT, ROUNDS, Profile, as_profile, designed_assignments, profile_space
from hwcomp.search.post_training import Candidate
from hwcomp.space import Assignment
from hwcomp.stages import digest

CHECK_ROUNDS, FINAL_ROUNDS = 3, 8


@final
class LocalBench(Bench):
    """Measures on this machine."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.whole_us: dict[str, float] = {}
        self.device = LocalDevice()

    def cost_table(self) -> CostTable:
        """Profile designed assignments in context, and the whole runs that correct their sums."""
        stage = self.context.reporter.stage("Table")
        designed = designed_assignments(self.context.prepared.space, self.context.config.seed)
        key = digest(self.context.prepared.key, designed, self.context.threads, environment())
        found = self.context.stages.has("profiles", key)
        kept = self.context.stages.json("profiles", key, lambda: self._measure(designed, stage.bar))
        self.profiles = [Profile(**profile) for profile in kept["profiles"]]
        self.whole_us, self.float_us = kept["whole_us"], kept["plain_us"]
        table = self._table(held_out=HELD_OUT)
        space = self.context.prepared.space
        entries = sum(len(site.candidates) for site in space.sites) + 2 * len(space.edges)
        source = "from an earlier run" if found else f"measured now in {len(designed)} networks"
        stage.done(
            f"host, onnxruntime {environment()['onnxruntime']}, {self.context.threads} threads: {entries} entries, "
            f"{source}, held-out error {100 * table.error:.0f} %"
        )
        return table

    def _table(self, held_out: str | None = None) -> CostTable:
        prepared = self.context.prepared
        model = Lookup(profiles=self.profiles, whole_us=self.whole_us, held_out=held_out)
        return model.cost_table(prepared.space, kernels_of(prepared.program, prepared.target.activation))

    def _measure(self, designed: Mapping[str, Mapping[str, str]], bar: Callable[..., Any]) -> dict[str, Any]:
        prepared, threads = self.context.prepared, self.context.threads
        models = {name: prepared.lower(assignment) for name, assignment in designed.items()}
        latency_us = median(self.device.time_block(prepared.plain, prepared.feed, threads))

        def run(name: str) -> Mapping[Owner, float]:
            return self.device.profile(models[name], prepared.feed, threads, latency_us)

        wholes = {"plain": prepared.plain}
        wholes |= {name: models[name] for name in (*PURE, HELD_OUT) if name in models}
        steps = ROUNDS * len(designed) + CHECK_ROUNDS * len(wholes)
        with bar("measuring kernels in context", total=steps) as progress:
            profiles = profile_space(designed, run, progress.advance)
            whole = compare(self.device, wholes, prepared.feed, threads, CHECK_ROUNDS, progress.advance)
        whole_us = {name: whole.fastest_us(name) for name in wholes}
        plain_us = whole_us.pop("plain")
        return {"profiles": [asdict(p) for p in profiles], "whole_us": whole_us, "plain_us": plain_us}

    def check(self, assignment: Assignment, predicted_us: float) -> Candidate:
        """Lower an assignment, time it against the baseline and see what it computes."""
        model = self.context.prepared.lower(assignment)
        stage = self.context.reporter.stage("Try")
        with stage.bar("measuring", total=2 * CHECK_ROUNDS) as bar:
            pair = {"plain": self.context.prepared.plain, "candidate": model}
            timed = compare(
                self.device, pair, self.context.prepared.feed, self.context.threads, CHECK_ROUNDS, bar.advance
            )
        latency_us = timed.measurement("candidate").median_us
        candidate = Candidate(
            assignment=assignment,
            model=model,
            predicted_us=predicted_us,
            latency_us=latency_us,
            speedup=timed.speedup("candidate"),
            distance=self.distance(model),
            drop=self.drop(model, latency_us),
        )
        stage.done(describe(candidate))
        return candidate

    def refine(self, candidate: Candidate) -> CostTable:
        """Profile a candidate and return the table that knows it too."""
        times = self.device.profile(
            candidate.model, self.context.prepared.feed, self.context.threads, candidate.latency_us
        )
        control = next(profile for profile in self.profiles if profile.name == CONTROL)
        again = self.device.profile(
            self.context.prepared.lower(control.assignment),
            self.context.prepared.feed,
            self.context.threads,
            self.float_us,
        )
        scale = control.total_us / sum(again.values())
        name = f"candidate {len(self.profiles)}"
        scaled = {owner: us * scale for owner, us in times.items()}
        self.profiles = [*self.profiles, as_profile(name, candidate.assignment, scaled)]
        self.whole_us[name] = self.float_us / candidate.speedup
        return self._table()

    def conclude(self, tried: list[Candidate]) -> Final:
        """Time the best against the baseline in many rounds; keep the baseline if it is not beaten."""
        best = tried[-1] if tried else self.plain_candidate(self.float_us)
        stage = self.context.reporter.stage("Verify")
        with stage.bar("interleaved runs", total=2 * FINAL_ROUNDS) as bar:
            pair = {"plain": self.context.prepared.plain, "compiled": best.model}
            timed = compare(
                self.device, pair, self.context.prepared.feed, self.context.threads, FINAL_ROUNDS, bar.advance
            )
        is_plain = (
            best.model == self.context.prepared.plain or timed.speedup("compiled") <= 1.0 or not self._usable(best)
        )
        if is_plain:
            best = self.plain_candidate(timed.measurement("plain").median_us)
        name = "plain" if is_plain else "compiled"
        measured = timed.measurement(name)
        best = replace(best, latency_us=measured.median_us, speedup=timed.speedup(name))
        stage.done(
            f"{measured.median_us / 1e3:.3f} ms measured (p10 {measured.p10_us / 1e3:.3f}, "
            f"p90 {measured.p90_us / 1e3:.3f}, {measured.runs} runs), {timed.speedup(name):.2f}x"
        )
        return self._finished(best, timed, name)

    def _usable(self, candidate: Candidate) -> bool:
        """Return whether a candidate may stand for the result: if accuracy has no limit or is within it."""
        return self.context.config.budget.kind != "fastest" or candidate.is_accurate(self.context.config.budget)

    def _finished(self, best: Candidate, timed: Comparison, name: str) -> Final:
        is_plain, profile = name == "plain", None
        if not is_plain:
            times = self.device.profile(best.model, self.context.prepared.feed, self.context.threads, best.latency_us)
            profile = as_profile("final", best.assignment, times)
        accuracy = self.accuracy(best.model)
        baseline = timed.measurement("plain")
        predicted = best.predicted_us * baseline.median_us / self.float_us
        return Final(
            candidate=best,
            is_plain=is_plain,
            baseline=baseline,
            compiled=timed.measurement(name),
            ratios=timed.ratios(name),
            speedup=timed.speedup(name),
            predicted_us=baseline.median_us if is_plain else predicted,
            profile=profile,
            accuracy=accuracy,
            met=self.met(best, accuracy),
        )
