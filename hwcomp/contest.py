"""Configurations at the same measured latency, trained alike and compared: what a search is worth.

A search that is not compared with the best homogeneous configuration, with precision alone and with random draws from
its own space has shown nothing: all of them profit from the training.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import mean, pstdev

from hwcomp.config import Budget
from hwcomp.draft import Drafted, Drafts
from hwcomp.joint_cost import JointTable
from hwcomp.search.configurations import Realised, Realiser
from hwcomp.search.controls import homogeneous, precision_alone, random_preference
from hwcomp.search.joint_projection import Configuration, Preference, project
from hwcomp.search.knapsack import Sensitivity
from hwcomp.search.records import Entry

Offer = Callable[[float], Configuration | None]
"""Gives a configuration within a latency in microseconds, by the joint table."""

SEARCHED = "searched"
REPAIRS = 5
MARGIN = 0.98
"""Share of the allowed latency that drafts aim at, so that the final measurement is within it too."""

RANDOM_CONTROLS = 2


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
        spread = f" +- {pstdev(self.metrics):.2f}" if len(self.metrics) > 1 else ""
        scored = f", metric on validation samples {self.score:.2f}{spread}" if self.metrics else ""
        return f"{self.name}: {self.drafted.latency_us / 1e3:.3g} ms, {self.drafted.speedup:.2f}x{scored}"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Where configurations compete.

    Attributes:
        joint: latencies that they are chosen by.
        preference: of the search; its candidates are those of all.
        sensitivity: to rounding, for the control that chooses precision alone.
        drafts: tells what a network really takes.
        realiser: makes networks of configurations.
        budget: that all must meet.
        limit_us: what the budget allows, by the joint table.
        seed: of the random controls.
    """

    joint: JointTable
    preference: Preference
    sensitivity: Sensitivity
    drafts: Drafts
    realiser: Realiser
    budget: Budget
    limit_us: float
    seed: int

    def searched(self) -> Contestant | None:
        """Return the most likely configuration of the search that meets the budget, or None if there is none."""
        return self._fitted(SEARCHED, lambda limit_us: project(self.joint, self.preference, limit_us))

    def controls(self) -> Iterator[Contestant]:
        """Yield what the search must beat, as far as the budget can be met that way."""
        offers: dict[str, Offer] = {
            "homogeneous": lambda limit_us: homogeneous(self.joint, self.preference, limit_us),
            "precision alone": lambda limit_us: precision_alone(self.joint, self.sensitivity, limit_us),
        }
        for number in range(1, RANDOM_CONTROLS + 1):
            offers[f"random {number}"] = self._random(number)
        for name, offer in offers.items():
            found = self._fitted(name, offer)
            if found is not None:
                yield found

    def _random(self, number: int) -> Offer:
        drawn = random_preference(self.preference, f"{self.seed} {number}")
        return lambda limit_us: project(self.joint, drawn, limit_us)

    def _fitted(self, name: str, offer: Offer) -> Contestant | None:
        """Ask for configurations within tighter and tighter limits until one is measured within the budget."""
        limit_us = self.limit_us
        for _ in range(REPAIRS):
            configuration = offer(limit_us)
            if configuration is None:
                return None
            drafted = self.drafts(self.realiser.compacted(configuration), configuration.assignment)
            share = drafted.share_of(self.budget)
            if share <= 1:
                return Contestant(name=name, configuration=configuration, drafted=drafted)
            limit_us = min(limit_us, configuration.predicted_us) * MARGIN / share
        return None
