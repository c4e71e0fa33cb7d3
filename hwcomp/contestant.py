"""One configuration of a contest, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from hwcomp.draft import Drafted
from hwcomp.search.configurations import Realised
from hwcomp.search.joint_projection import Configuration
from hwcomp.search.records import SEARCHED, Entry

FASTER = 1.05
"""Speed-up over the best contestant at which one that is as good within its spread is taken in its place."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One configuration, and what came of it.

    Attributes:
        name: where it comes from.
        configuration: widths and precision.
        drafted: its latency, before it was trained.
        realised: trained networks, one for each seed.
    """

    name: str
    configuration: Configuration
    drafted: Drafted
    realised: tuple[Realised, ...] = ()

    @property
    def metrics(self) -> list[float]:
        """The metric of each seed on validation samples; none without them."""
        return [one.metric for one in self.realised if one.metric is not None]

    @property
    def score(self) -> float:
        """The mean of the metrics."""
        return mean(self.metrics) if self.metrics else 0.0

    def entry(self, *, chosen: bool) -> Entry:
        """Return what a report tells of it."""
        return Entry(
            name=self.name, latency_us=self.drafted.latency_us, speedup=self.drafted.speedup,
            metrics=tuple(self.metrics), chosen=chosen,
        )  # fmt: skip

    @property
    def best(self) -> Realised:
        """The network of the best seed."""
        return max(self.realised, key=lambda one: one.metric or 0.0)

    def __str__(self) -> str:
        """Return in words how it did."""
        spread = f" +- {stdev(self.metrics):.2f}" if len(self.metrics) > 1 else ""
        scored = f", metric on validation samples {self.score:.2f}{spread}" if self.metrics else ""
        return f"{self.name}: {self.drafted.latency_us / 1e3:.3g} ms, {self.drafted.speedup:.2f}x{scored}"


def winner(contestants: Sequence[Contestant]) -> Contestant:
    """Return the contestant with the best mean metric, or one that is clearly faster and as good within its spread.

    Where seeds differ more than contestants do, the best mean is chance, and speed is not.
    """
    best = max(contestants, key=lambda one: (one.score, one.name == SEARCHED))
    if len(best.metrics) < 2:
        return best
    least = best.score - stdev(best.metrics)
    faster = [one for one in contestants if one.drafted.speedup >= FASTER * best.drafted.speedup]
    return max((one for one in faster if one.score >= least), key=lambda one: one.drafted.speedup, default=best)
