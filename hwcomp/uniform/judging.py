"""What the versions of a network compute, and which of those that are accurate enough is taken."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwcomp.benches.base import Accuracy
from hwcomp.config import Budget
from hwcomp.data import eval_samples
from hwcomp.devices import CPU, LOCAL
from hwcomp.devices.base import Device
from hwcomp.evaluation import Runner, accuracies, distance, points_lost, reference_outputs
from hwcomp.job import Job
from hwcomp.lowering.onnxruntime import Array, Feed
from hwcomp.program import Inputs
from hwcomp.search.post_training import Candidate
from hwcomp.uniform.versions import Version

INPUTS = 4
"""Inputs for which a version's outputs are compared with the float network's."""

LATENCY_HERE_US = 4000.0
"""Of a network on this processor, about: it decides how many held-out samples are looked at."""

NEGLIGIBLE = 0.005
"""Distance below which versions count as equally exact: no metric would notice it."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A version with what was found out about it.

    Attributes:
        version: the network.
        latency_us: median, or by the roofline.
        speedup: over the float network.
        distance: of its outputs from the float network's, relative to these; None where nothing ran it.
        drop: points that it loses on held-out training samples; None without them, or if nobody asked.
    """

    version: Version
    latency_us: float
    speedup: float
    distance: float | None
    drop: float | None = None

    @property
    def candidate(self) -> Candidate:
        """The same as a search has it."""
        return Candidate(
            assignment=self.version.assignment,
            model=self.version.content,
            predicted_us=self.latency_us,
            latency_us=self.latency_us,
            speedup=self.speedup,
            distance=self.distance or 0.0,
            drop=self.drop,
        )


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Compares versions with the float network.

    Attributes:
        job: the compilation.
        plain: the float network, an ONNX file.
        names: of the network's inputs, in order.
        inputs: of calibration; the first few are compared.
        validation: labelled samples to choose by; may be empty.
        reference: what the float network gives for the inputs that are compared.
    """

    job: Job
    plain: bytes
    names: Sequence[str]
    inputs: Sequence[Inputs]
    validation: Sequence[tuple[Inputs, object]]
    reference: Sequence[Sequence[Array]]

    @classmethod
    def of(
        cls, job: Job, plain: bytes, inputs: Sequence[Inputs], validation: Sequence[tuple[Inputs, object]] = ()
    ) -> "Judge":
        """Return a judge for a network."""
        names = [node.name for node in job.original.nodes if node.op == "placeholder"]
        few = inputs[:INPUTS]
        reference = reference_outputs(plain, few)
        return cls(job=job, plain=plain, names=names, inputs=few, validation=validation, reference=reference)

    @property
    def feed(self) -> Feed:
        """The first input, by name."""
        return self._feeds()[0]

    def _feeds(self) -> list[Feed]:
        return [{name: x.numpy() for name, x in zip(self.names, one, strict=True)} for one in self.inputs]

    def moved_on(self, device: Device, version: Version) -> float:
        """Return how far the outputs that a device gives are from the float network's, relative to these.

        Raises:
            LoweringError: the device cannot run it.
        """
        found = [device.run(version.content, feed, self.job.threads) for feed in self._feeds()]
        return distance(self.reference, found)

    def moved_here(self, version: Version) -> float | None:
        """Return the same of what this processor gives; None where it cannot run it."""
        if not version.is_checkable:
            return None
        return distance(self.reference, reference_outputs(version.content, self.inputs))

    def runner(self, version: Version) -> Runner | None:
        """Return what runs a version here as its target does, None if nothing does."""
        job = self.job
        if job.config.device == LOCAL or job.target.local:
            return Runner(version.content, job.threads, version.provider)
        return Runner(version.content, job.threads, CPU) if version.is_checkable else None

    def lost(self, version: Version, latency_us: float) -> float | None:
        """Return the points that a version loses on held-out training samples; None without them."""
        after = self.runner(version) if self.validation and self.job.config.budget.max_drop is not None else None
        if after is None:
            return None
        before = Runner(self.plain, self.job.threads)
        return points_lost(before, after, self.validation, self.job.workload.metric, latency_us)

    def is_accurate_here(self, version: Version) -> bool:
        """Return whether a version that any processor can run is within the budget's loss of accuracy, run here."""
        drop = None
        if self.validation and self.job.config.budget.max_drop is not None:
            before, after = (Runner(one, self.job.threads) for one in (self.plain, version.content))
            drop = points_lost(before, after, self.validation, self.job.workload.metric, LATENCY_HERE_US)
        seen = Judged(version=version, latency_us=1.0, speedup=1.0, distance=self.moved_here(version), drop=drop)
        return seen.candidate.is_accurate(self.job.config.budget)

    def accuracy(self, version: Version) -> Accuracy | None:
        """Return the metric of the float network and a version on the test data; None where there is none."""
        labelled = eval_samples(self.job.workload)
        after = None if labelled is None else self.runner(version)
        if labelled is None or after is None:
            return None
        stage = self.job.reporter.stage("Evaluate")
        with stage.bar("test data", total=None) as bar:
            before = Runner(self.plain, self.job.threads)
            scores = accuracies([before, after], labelled, self.job.workload.metric, bar.advance)
        stage.done(f"metric on eval_data: float {scores[0]:.2f}, compiled {scores[1]:.2f}")
        return Accuracy(baseline=scores[0], compiled=scores[1], judge=scores[0])


def take(found: Sequence[Judged], judge: Judge, margin: float) -> tuple[Judged, list[Judged]]:
    """Return the first version in `order` that is accurate enough, and all of them with what was learned.

    If none is, the float network's own precision is taken where it is among them, else the most exact one.

    Args:
        found: versions with their latencies.
        judge: counts the points that they lose, where it can.
        margin: see `order`.
    """
    budget = judge.job.config.budget
    learned = {one.version.name: one for one in found}
    for one in order(found, budget, margin):
        seen = learned[one.version.name] = replace(one, drop=judge.lost(one.version, one.latency_us))
        if seen.candidate.is_accurate(budget):
            return seen, list(learned.values())
    seen = min(learned.values(), key=lambda one: one.candidate.distance)
    return seen, list(learned.values())


def order(found: Sequence[Judged], budget: Budget, margin: float) -> list[Judged]:
    """Return versions in the order in which they are taken if they are accurate enough.

    The fastest come first, and of those that are as good as equally fast the most exact. Where a latency or speed-up
    was asked for, the most exact of those that are that fast come before the others.

    Args:
        found: versions with their latencies.
        budget: what was asked for.
        margin: how many times longer than the fastest one a version may take to count as equally fast.
    """
    limit_us = margin * min(one.latency_us for one in found)

    def is_first(one: Judged) -> bool:
        return one.latency_us <= limit_us if budget.kind == "fastest" else one.candidate.is_fast(budget)

    first = sorted(filter(is_first, found), key=lambda one: (max(one.candidate.distance, NEGLIGIBLE), one.latency_us))
    return [*first, *sorted((one for one in found if not is_first(one)), key=lambda one: one.latency_us)]
