"""What was measured: latencies with their spread, and ratios of paired runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwcomp.provenance import Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """Latency of one model.

    Attributes:
        median_us: of all runs.
        p10_us: tenth percentile.
        p90_us: ninetieth percentile.
        runs: how many.
        threads: that the runtime used.
        provenance: "measured", or how it was estimated (then median, p10 and p90 are equal and runs is 0).
    """

    median_us: float
    p10_us: float
    p90_us: float
    runs: int
    threads: int
    provenance: Provenance = "measured"


def summarise(samples_us: Sequence[float], threads: int, provenance: Provenance = "measured") -> Measurement:
    """Return the statistics of runs in microseconds."""
    p10, median, p90 = np.percentile(samples_us, [10, 50, 90]).tolist()
    return Measurement(
        median_us=median, p10_us=p10, p90_us=p90, runs=len(samples_us), threads=threads, provenance=provenance
    )


def estimated(latency_us: float, threads: int, provenance: Provenance) -> Measurement:
    """Return an estimate in the form of a measurement of no runs."""
    return Measurement(
        median_us=latency_us, p10_us=latency_us, p90_us=latency_us, runs=0, threads=threads, provenance=provenance
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Several models, timed in turn so that changes of the machine's speed hit all of them.

    Attributes:
        blocks_us: model -> rounds -> runs, in microseconds; the first model is the control.
        threads: that the runtime used.
        provenance: of the device that they ran on.
    """

    blocks_us: Mapping[str, Sequence[Sequence[float]]]
    threads: int
    provenance: Provenance = "measured"

    def measurement(self, name: str) -> Measurement:
        """Return the statistics of one model over all rounds."""
        samples_us = [sample for block in self.blocks_us[name] for sample in block]
        return summarise(samples_us, self.threads, self.provenance)

    def joined(self, other: "Comparison") -> "Comparison":
        """Return the rounds of both; they compare the same models."""
        blocks = {name: [*rounds, *other.blocks_us[name]] for name, rounds in self.blocks_us.items()}
        return Comparison(blocks_us=blocks, threads=self.threads, provenance=self.provenance)

    def fastest_us(self, name: str) -> float:
        """Return the smallest median of a block: what a model takes when nothing disturbs it."""
        return min(float(np.median(block)) for block in self.blocks_us[name])

    def ratios(self, name: str) -> list[float]:
        """Return, round by round, how many times faster than the control a model is (medians of paired blocks)."""
        control = next(iter(self.blocks_us.values()))
        pairs = zip(control, self.blocks_us[name], strict=True)
        return [float(np.median(before) / np.median(after)) for before, after in pairs]

    def speedup(self, name: str) -> float:
        """Return the median of the paired ratios."""
        return float(np.median(self.ratios(name)))
