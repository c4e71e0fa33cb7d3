"""One configuration of a contest, and what came of it."""

from dataclasses import dataclass
from statistics import mean, stdev

from hwcomp.draft import Drafted
from hwcomp.search.configurations import Realised
from hwcomp.search.joint_projection import Configuration
from hwcomp.search.records import Entry


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
