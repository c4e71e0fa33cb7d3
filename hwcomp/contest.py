"""Configurations at the same measured latency, trained alike and compared: what a search is worth.

A search that is not compared with the best homogeneous configuration, with precision alone and with random draws from
its own space has shown nothing: all of them profit from the training.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from hwcomp.config import Budget
from hwcomp.contestant import Contestant
from hwcomp.draft import Drafted, Drafts
from hwcomp.fitting import Fitted, Offer, fitted
from hwcomp.joint_cost import JointTable
from hwcomp.search.configurations import Realiser
from hwcomp.search.controls import fastest_alone, homogeneous, precision_alone, random_preference, smallest
from hwcomp.search.joint_projection import Configuration, Preference, fastest
from hwcomp.search.knapsack import Sensitivity
from hwcomp.search.records import SEARCHED
from hwcomp.search.spend import spend
from hwcomp.space import Assignment
from hwcomp.stages import Stages, digest

POST_TRAINING = "post-training precision"
"""Name of the configuration that the compilation began with: all channels, precision chosen without training."""

RANDOM_CONTROLS = 2

USED = 0.85
"""Share of the budget at which no other source is asked for a configuration that uses more of it."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Where configurations compete.

    Attributes:
        joint: latencies that they are chosen by.
        preference: of the search; its candidates are those of all.
        sensitivity: to rounding, for the control that chooses precision alone.
        post_training: the precision of the whole network, as it was chosen before the search.
        drafts: tells what a network really takes.
        realiser: makes networks of configurations.
        budget: that all must meet.
        limit_us: what the budget allows, by the joint table.
        allowed: share of the budget that drafts may take.
        seed: of the random controls.
        stages: where what was timed is kept.
        key: hash of what decides everything but the budget, the limit and what is allowed.
    """

    joint: JointTable
    preference: Preference
    sensitivity: Sensitivity
    post_training: Assignment
    drafts: Drafts
    realiser: Realiser
    budget: Budget
    limit_us: float
    allowed: float = 1.0
    seed: int
    stages: Stages
    key: str

    def searched(self) -> Contestant | None:
        """Return the most likely configuration of the search that meets the budget, or None if none does."""
        return self._entered(SEARCHED, *self._likely(self.preference))

    def resort(self) -> Contestant | None:
        """Return the whole network in the precision that it had before the search, if that meets the budget."""
        assignment, widths = dict(self.post_training), dict(self.joint.channels)
        predicted_us = self.joint.predict_us(assignment, widths)
        whole = Configuration(assignment=assignment, widths=widths, predicted_us=predicted_us)
        return self._entered(POST_TRAINING, Offer(within=lambda _: whole, fastest=whole))

    def controls(self) -> Iterator[Contestant]:
        """Yield what the search must beat, as far as the budget can be met that way."""
        joint, preference, sensitivity = self.joint, self.preference, self.sensitivity
        even = Offer(
            within=lambda limit_us: homogeneous(joint, preference, limit_us), fastest=smallest(joint, preference)
        )
        alone = Offer(
            within=lambda limit_us: precision_alone(joint, sensitivity, limit_us), fastest=fastest_alone(joint)
        )
        offers = {"homogeneous": [even], "precision alone": [alone]}
        for number in range(1, RANDOM_CONTROLS + 1):
            offers[f"random {number}"] = self._likely(random_preference(preference, f"{self.seed} {number}"))
        for name, own in offers.items():
            found = self._entered(name, *own)
            if found is not None:
                yield found

    def missed_by(self, factor: float, drafted: Drafted) -> "Contest":
        """Return the contest after a winner took more than the budget in the end, though its draft did not.

        Args:
            factor: its latency in the end by what the budget allows, above 1.
            drafted: what its draft took.
        """
        allowed = min(self.allowed, drafted.share_of(self.budget)) / factor
        return replace(self, limit_us=self.limit_us / factor, allowed=allowed)

    def _likely(self, preference: Preference) -> list[Offer]:
        """Return the most likely configurations of probabilities that are moved to each limit.

        Layers of two schemes are timed at full width, and parts of few channels may cost more than the table says; so
        there is a second source without them.
        """
        sources = [preference, preference.without_splits()] if preference.has_splits else [preference]
        return [
            Offer(within=partial(spend, self.joint, source), fastest=fastest(self.joint, source)) for source in sources
        ]

    def _entered(self, name: str, *offers: Offer) -> Contestant | None:
        """Return what sources offer within the budget, found now or when the same command ran before.

        A source is asked where those before it left much of the budget unused. That nothing was within it is not kept:
        the next measurement may say otherwise.
        """
        key = digest(self.key, name, [self.budget.model_dump(), self.limit_us, self.allowed])
        found: dict[str, Any] = {}
        if not self.stages.has("contest", key):
            best: Fitted | None = None
            for offer in offers:
                one = fitted(offer, self.limit_us, self._drafted, self.budget, self.allowed)
                best = max(filter(None, (best, one)), key=self._used, default=None)
                if best is not None and self._used(best) >= USED * self.allowed:
                    break
            if best is None:
                return None
            found = asdict(best)
        kept = self.stages.json("contest", key, lambda: found)
        configuration, drafted = Configuration(**kept["configuration"]), Drafted(**kept["drafted"])
        return Contestant(name=name, configuration=configuration, drafted=drafted)

    def _used(self, one: Fitted) -> float:
        """Return the share of the budget that a configuration takes."""
        return one.drafted.share_of(self.budget)

    def _drafted(self, configuration: Configuration) -> Drafted:
        network = self.realiser.built(configuration)
        return self.drafts(network.network, network.assignment)
