"""What is kept of a search, for its report."""

from dataclasses import dataclass

SEARCHED = "searched"
"""Name of the search's own configuration in a contest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRecord:
    """How far a search was after an epoch.

    Attributes:
        epoch: its number, from 1.
        expected_us: expected latency.
        budget_us: what it is to be, in the same table's microseconds.
        multiplier: of the latency term; 0 for terms without one.
        entropy: mean over the sites, relative to that of equal probabilities, 0 to 1.
        loss: of the last step.
    """

    epoch: int
    expected_us: float
    budget_us: float
    multiplier: float
    entropy: float
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """How one configuration did in a contest.

    Attributes:
        name: where it comes from.
        latency_us: before it was trained.
        speedup: over the float network in the same rounds.
        metrics: on validation samples, one for each seed; none without labels.
        chosen: whether it is the one that the user gets.
    """

    name: str
    latency_us: float
    speedup: float
    metrics: tuple[float, ...]
    chosen: bool
