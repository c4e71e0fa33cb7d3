"""Networks of other widths, timed: where the time of each goes, measured on a device or known of a target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

import numpy as np

from hwcomp.compaction import compact
from hwcomp.default_passes import default_passes
from hwcomp.devices.base import Device
from hwcomp.entries import Profile, as_profile
from hwcomp.groups import Groups
from hwcomp.kernels import kernels_of, search_space
from hwcomp.known_tables import KnownTables
from hwcomp.program import Program, run_passes
from hwcomp.quick_subject import quick_subject
from hwcomp.scheme import FLOAT, is_sparse
from hwcomp.space import Assignment, SearchSpace
from hwcomp.target import Target
from hwcomp.width_designs import MULTIPLES, designed_widths, fast_multiple, trial_widths
from hwcomp.width_fit import Counts, Timed, width_law
from hwcomp.width_law import Polynomial, Widths

ROUNDS = 2


class Timer(Protocol):
    """Tells where a network's time goes."""

    def __call__(self, network: Program) -> tuple[Profile, float]:
        """Return the profile of a network, and the latency of the whole in microseconds."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceTimer:
    """Measures on a device.

    Attributes:
        device: where.
        target: that networks are lowered for.
        threads: of the runtime.
        assignment: site -> scheme; sites that it does not name stay float.
    """

    device: Device
    target: Target
    threads: int
    assignment: Assignment

    def __call__(self, network: Program) -> tuple[Profile, float]:
        """Lower a network and profile it; the faster of two rounds counts."""
        subject = quick_subject(network, self.target)
        chosen = within(subject.space, self.assignment)
        model = subject.lower(chosen)
        rounds = []
        for _ in range(ROUNDS):
            latency_us = median(self.device.time_block(model, subject.feed, self.threads))
            times = self.device.profile(model, subject.feed, self.threads, latency_us)
            rounds.append((as_profile("widths", chosen, times), latency_us))
        return min(rounds, key=lambda one: one[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownTimer:
    """Takes the best table that is known of a target.

    Attributes:
        tables: of the target.
        assignment: site -> scheme; sites that it does not name stay float.
    """

    tables: KnownTables
    assignment: Assignment

    def __call__(self, network: Program) -> tuple[Profile, float]:
        """Return the table's times of a network."""
        target = self.tables.target
        program = run_passes(network, default_passes(target))
        space, kernels = search_space(program), kernels_of(program, target.activation)
        table = self.tables.best(space, kernels, "").table
        chosen = within(space, self.assignment)
        profile = Profile(
            name="widths",
            assignment=chosen,
            site_us={site: table.site_us[site][choice] for site, choice in chosen.items()},
            tensor_us={edge.tensor: us for edge in space.edges if (us := table.conversion_us(edge, chosen)) > 0},
        )
        return profile, table.predict_us(chosen)


def within(space: SearchSpace, assignment: Assignment) -> dict[str, str]:
    """Return the complete assignment of a space that takes what another network's has for sites of the same name.

    A sparse scheme becomes the one that the zeros of the space's own network are of.
    """
    candidates = {site.name: site.candidates for site in space.sites}
    return space.complete({name: _own(c, candidates[name]) for name, c in assignment.items() if name in candidates})


def _own(choice: str, candidates: Sequence[str]) -> str:
    """Return the candidate that a choice means, float if there is none."""
    if choice in candidates:
        return choice
    return next((c for c in candidates if is_sparse(choice) and is_sparse(c)), FLOAT)


@dataclass(frozen=True, kw_only=True, slots=True)
class WidthTable:
    """How the latency of a network depends on its widths.

    Attributes:
        law: in microseconds.
        multiple: channel counts that are fast.
        error: median relative error of the law on networks that were left out when it was fitted.
        networks: how many were timed.
    """

    law: Polynomial
    multiple: int
    error: float
    networks: int

    def __str__(self) -> str:
        """Return in words what was found."""
        return (
            f"{self.networks} networks of other widths timed, +-{100 * self.error:.0f} % on networks left out; "
            f"channel counts are multiples of {self.multiple}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "law": self.law.as_json(), "multiple": self.multiple, "error": self.error, "networks": self.networks
        }  # fmt: skip

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "WidthTable":
        """Return what `as_json` gave."""
        return cls(**{**kept, "law": Polynomial.of_json(kept["law"])})


def width_table(
    network: Program, groups: Groups, timer: Timer, seed: int, advance: Callable[[], None] = lambda: None
) -> WidthTable:
    """Time networks of designed widths and fit the law; ``advance`` is called after each, `timings` times in all."""

    def timed(widths: Widths) -> Timed:
        return time_widths(network, groups, widths, [timer], advance)[0]

    counts = Counts(network, groups)
    points = [timed(widths) for widths in designed_widths(groups, seed)]
    law = width_law(counts, points)
    trials = [(multiple, timed(trial_widths(groups, multiple))) for multiple in MULTIPLES]
    errors = [
        abs(width_law(counts, points[:i] + points[i + 1 :])(left.widths) / left.latency_us - 1)
        for i, left in enumerate(points)
    ]
    return WidthTable(
        law=law,
        multiple=fast_multiple(law, trials),
        error=float(np.median(errors)),
        networks=len(points) + len(trials),
    )


def timings(groups: Groups) -> int:
    """Return how many networks `width_table` times."""
    return len(designed_widths(groups, 0)) + len(MULTIPLES)


def time_widths(
    network: Program, groups: Groups, widths: Widths, timers: Sequence[Timer], advance: Callable[[], None]
) -> list[Timed]:
    """Return what each timer says of a network of some widths; ``advance`` is called after each."""
    smaller = compact(network, groups, {name: range(width) for name, width in widths.items()})
    found = []
    for timer in timers:
        profile, latency_us = timer(smaller)
        found.append(Timed(widths=widths, profile=profile, latency_us=latency_us))
        advance()
    return found
