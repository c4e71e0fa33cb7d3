"""Measures what a search space costs on this machine, in the context of the whole network.

A handful of whole-network assignments are run with the runtime's profiler: everything in float, everything in each
integer scheme, and patterns in which pairs of levels alternate between integers and float, so that each conversion is
seen in both directions. Rounds are interleaved; each assignment counts by its fastest round, since everything that
disturbs a measurement makes it slower.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from hwcomp.lowering.onnxruntime import Owner
from hwcomp.scheme import FLOAT, QUANTS
from hwcomp.space import SearchSpace

CONTROL = "float"
HELD_OUT = "held out"
ROUNDS = 3
PERIOD = 4
"""Levels after which a pattern repeats: two in integers, two in float.

A single float operator between integers would not stay float: ONNX Runtime itself quantises the weights of operators
that stand between a dequantisation and a quantisation.
"""

RunProfile = Callable[[str], Mapping[Owner, float]]
"""Runs the network of a named assignment under the profiler and returns microseconds by owner."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One assignment and where its time went.

    Attributes:
        name: of the pattern.
        assignment: site -> scheme, complete.
        site_us: site -> microseconds.
        tensor_us: tensor -> microseconds of conversions of its format and layout.
    """

    name: str
    assignment: Mapping[str, str]
    site_us: Mapping[str, float]
    tensor_us: Mapping[str, float]

    @property
    def total_us(self) -> float:
        """The sum of all kernels."""
        return sum(self.site_us.values()) + sum(self.tensor_us.values())


def designed_assignments(space: SearchSpace, seed: int) -> dict[str, dict[str, str]]:
    """Return the assignments to profile: one for each scheme everywhere, then mixed patterns.

    The patterns are by level, the longest way from an input; the last one, with runs of random length, is for checking.
    """
    schemes = [scheme for scheme in QUANTS if any(scheme in site.candidates for site in space.sites)]
    designed = {CONTROL: space.everywhere()}
    for scheme in schemes:
        fallback = () if QUANTS[scheme].activation_bits is None else ("int8",)
        designed[scheme] = space.everywhere(scheme, *fallback)
    integers = space.everywhere("int8", *schemes)
    levels = _levels(space)
    for shift in range(PERIOD):
        mixed = {name: integers[name] for name, level in levels.items() if (level + shift) % PERIOD < PERIOD // 2}
        designed[f"alternating {shift}"] = space.complete(mixed)
    in_integers = _random_runs(max(levels.values(), default=0) + 1, random.Random(seed))  # noqa: S311 - a pattern, not a secret
    mixed = {name: integers[name] for name, level in levels.items() if in_integers[level]}
    designed[HELD_OUT] = space.complete(mixed)
    unique: dict[str, dict[str, str]] = {}
    for name, assignment in designed.items():
        if name == HELD_OUT or assignment not in unique.values():
            unique[name] = assignment
    return unique


def _levels(space: SearchSpace) -> dict[str, int]:
    """Return the longest way from an input to each site."""
    graph = nx.DiGraph((edge.tensor, reader) for edge in space.edges for reader in edge.readers)
    generations = enumerate(nx.topological_generations(graph))
    level = {name: index for index, generation in generations for name in generation}
    return {site.name: level.get(site.name, 0) for site in space.sites}


def _random_runs(levels: int, generator: random.Random) -> list[bool]:
    """Return for each level whether it is in integers, in runs of two to five."""
    runs: list[bool] = []
    while len(runs) < levels:
        runs += [not (runs and runs[-1])] * generator.randint(2, 5)
    return runs[:levels]


def profile_space(
    assignments: Mapping[str, Mapping[str, str]], run: RunProfile, progress: Callable[[], None] = lambda: None
) -> list[Profile]:
    """Profile assignments in interleaved rounds and keep the fastest round of each."""
    rounds: dict[str, list[Mapping[Owner, float]]] = {name: [] for name in assignments}
    for index in range(ROUNDS):
        names = list(assignments) if index % 2 == 0 else list(assignments)[::-1]
        for name in names:
            rounds[name].append(run(name))
            progress()
    return [as_profile(name, assignments[name], fastest(rounds[name])) for name in assignments]


def fastest(rounds: Sequence[Mapping[Owner, float]]) -> Mapping[Owner, float]:
    """Return the round whose kernels took the least time in all."""
    return min(rounds, key=lambda times: sum(times.values()))


def as_profile(name: str, assignment: Mapping[str, str], times: Mapping[Owner, float]) -> Profile:
    """Return the profile of an assignment from the times of its owners."""
    return Profile(
        name=name,
        assignment=assignment,
        site_us={owner.name: us for owner, us in times.items() if owner.kind == "site"},
        tensor_us={owner.name: us for owner, us in times.items() if owner.kind == "tensor"},
    )


def control_of(profiles: Sequence[Profile]) -> Profile:
    """Return the profile in which everything is float."""
    return next(profile for profile in profiles if set(profile.assignment.values()) == {FLOAT})
