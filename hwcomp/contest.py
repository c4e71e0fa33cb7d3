"""Configurations at the same measured latency, trained alike and compared: what a search is worth.

A search that is not compared with the best homogeneous configuration, with precision alone and with random draws from
its own space has shown nothing: all of them profit from the training.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any

from hwcomp.config import Budget
from hwcomp.draft import Drafted, Drafts
from hwcomp.joint_cost import JointTable
from hwcomp.search.configurations import Realised, Realiser
from hwcomp.search.controls import homogeneous, precision_alone, random_preference
from hwcomp.search.joint_projection import Configuration, Preference
from hwcomp.search.knapsack import Sensitivity
from hwcomp.search.records import SEARCHED, Entry
from hwcomp.search.spend import spend
from hwcomp.stages import Stages, digest

Offer = Callable[[float], Configuration | None]
"""Gives a configuration within a latency in microseconds, by the joint table."""

DRAFTS = 5
"""Configurations that are timed to find one that uses the budget."""

MARGIN = 0.98
"""Share of the allowed latency that drafts aim at, so that the final measurement is within it too."""

ENOUGH = 0.97
"""Share of that aim at which a draft is taken at once."""

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
        spread = f" +- {stdev(self.metrics):.2f}" if len(self.metrics) > 1 else ""
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
        stages: where what was timed is kept.
        key: hash of what decides everything but the budget and the limit.
    """

    joint: JointTable
    preference: Preference
    sensitivity: Sensitivity
    drafts: Drafts
    realiser: Realiser
    budget: Budget
    limit_us: float
    seed: int
    stages: Stages
    key: str

    def searched(self) -> Contestant | None:
        """Return the most likely configuration of the search that meets the budget, or None if there is none."""
        return self._entered(SEARCHED, self._likely(self.preference))

    def controls(self) -> Iterator[Contestant]:
        """Yield what the search must beat, as far as the budget can be met that way."""
        offers: dict[str, Offer] = {
            "homogeneous": lambda limit_us: homogeneous(self.joint, self.preference, limit_us),
            "precision alone": lambda limit_us: precision_alone(self.joint, self.sensitivity, limit_us),
        }
        for number in range(1, RANDOM_CONTROLS + 1):
            offers[f"random {number}"] = self._random(number)
        for name, offer in offers.items():
            found = self._entered(name, offer)
            if found is not None:
                yield found

    def _random(self, number: int) -> Offer:
        drawn = random_preference(self.preference, f"{self.seed} {number}")
        return self._likely(drawn)

    def _likely(self, preference: Preference) -> Offer:
        """Return the most likely configurations of probabilities that are moved to each limit."""
        return lambda limit_us: spend(self.joint, preference, limit_us)

    def _entered(self, name: str, offer: Offer) -> Contestant | None:
        """Return what a source offers, found now or when the same command ran before."""

        def found() -> dict[str, Any] | None:
            contestant = self._fitted(name, offer)
            if contestant is None:
                return None
            return {"configuration": asdict(contestant.configuration), "drafted": asdict(contestant.drafted)}

        kept = self.stages.json("contest", digest(self.key, name, self.budget.model_dump(), self.limit_us), found)
        if kept is None:
            return None
        configuration, drafted = Configuration(**kept["configuration"]), Drafted(**kept["drafted"])
        return Contestant(name=name, configuration=configuration, drafted=drafted)

    def _fitted(self, name: str, offer: Offer) -> Contestant | None:
        """Return the most that a source of configurations offers within the budget, by measurement.

        The limit by the table is moved by how far the draft is from the budget, tighter or wider, as long as that gives
        other configurations; the slowest one that was measured within the budget is taken.
        """
        limit_us, tried, found = self.limit_us, list[Configuration](), list[Contestant]()
        for _ in range(DRAFTS):
            configuration = offer(limit_us)
            if configuration is None or configuration in tried:
                break
            tried.append(configuration)
            network = self.realiser.built(configuration)
            drafted = self.drafts(network.network, network.assignment)
            share = drafted.share_of(self.budget)
            if share <= 1:
                found.append(Contestant(name=name, configuration=configuration, drafted=drafted))
            if MARGIN * ENOUGH <= share <= 1:
                break
            limit_us = MARGIN * configuration.predicted_us / share
        return max(found, key=lambda one: one.configuration.predicted_us, default=None)
