"""Which assignments of a space to measure: patterns that show every kernel, and random ones that check the table."""

import random
from collections.abc import Iterable, Mapping

import networkx as nx

from hwcomp.scheme import FLOAT, NARROW, QUANTS, is_sparse, reads_integers, writes_integers
from hwcomp.space import FOLLOWS_READERS, SearchSpace

CONTROL = "float"
PERIOD = 4
"""Levels after which a pattern repeats: two in integers, two in float.

A single float operator between integers would not stay float: ONNX Runtime itself quantises the weights of operators
that stand between a dequantisation and a quantisation.
"""

RUNS_SHARE = 0.3
"""Share of random assignments that change in runs of neighbouring operators, as searched ones do."""


def designed_assignments(space: SearchSpace, shifts: Iterable[int] = range(PERIOD)) -> dict[str, dict[str, str]]:
    """Return name -> assignment: one for each scheme everywhere, then patterns by level, the longest way from an input.

    In the patterns pairs of levels alternate; all shifts of the pattern show each conversion in both directions.
    """
    schemes = _schemes(space)
    designed = {CONTROL: space.everywhere()}
    for scheme in schemes:
        fallback = () if QUANTS[scheme].activation_bits is None else NARROW
        designed[scheme] = space.everywhere(scheme, *fallback)
    designed |= _sparse_assignments(space)
    integers = space.everywhere(*NARROW, *schemes)
    levels = _levels(space)
    for shift in shifts:
        mixed = {name: integers[name] for name, level in levels.items() if (level + shift) % PERIOD < PERIOD // 2}
        designed[f"alternating {shift}"] = space.complete(mixed)
    unique: dict[str, dict[str, str]] = {}
    for name, assignment in designed.items():
        if assignment not in unique.values():
            unique[name] = assignment
    return unique


def random_assignments(space: SearchSpace, count: int, generator: random.Random) -> list[dict[str, str]]:
    """Return assignments that a runtime computes as they stand, from nearly all float to nearly all integers.

    In most of them every operator draws for itself; in the others neighbours draw together.
    """
    return [_random_assignment(space, generator) for _ in range(count)]


def _random_assignment(space: SearchSpace, generator: random.Random) -> dict[str, str]:
    share, together = generator.random(), generator.random() < RUNS_SHARE
    chosen, left, in_integers = {}, 0, False
    for site in space.sites:
        if left == 0:
            left = generator.randint(2, 12) if together else 1
            in_integers = generator.random() < share
        left -= 1
        drawn = generator.choice(site.candidates[1:] or site.candidates)
        chosen[site.name] = drawn if in_integers else FLOAT
    return legal(space, chosen)


def legal(space: SearchSpace, assignment: Mapping[str, str]) -> dict[str, str]:
    """Return the assignment with integers wherever the runtime would compute in integers all the same.

    These are float operators whose result is read as integers, and that read integers from all sides or only move
    values.
    """
    chosen = space.complete(assignment)
    sources: dict[str, list[str]] = {}
    readers = {edge.tensor: edge.readers for edge in space.edges}
    for edge in space.edges:
        for reader in dict.fromkeys(edge.readers):
            sources.setdefault(reader, []).append(edge.tensor)
    changed = True
    while changed:
        changed = False
        for site in space.free:
            name = site.name
            made = all(writes_integers(chosen.get(tensor, FLOAT)) for tensor in sources.get(name, [""]))
            read = [reads_integers(chosen.get(reader, FLOAT)) for reader in readers.get(name, ())]
            moves = site.op in FOLLOWS_READERS and bool(read) and all(read)
            integers = next((candidate for candidate in site.candidates if reads_integers(candidate)), FLOAT)
            if chosen[name] == FLOAT != integers and (moves or (made and any(read))):
                chosen[name] = integers
                changed = True
    return chosen


def _sparse_assignments(space: SearchSpace) -> dict[str, dict[str, str]]:
    """Return name -> assignment: each site's first sparse scheme, then its second, or its last where it has fewer."""
    offered = {site.name: [c for c in site.candidates if is_sparse(c)] for site in space.sites}
    count = max(map(len, offered.values()), default=0)
    return {
        f"sparse {index}": space.complete({name: own[min(index, len(own) - 1)] for name, own in offered.items() if own})
        for index in range(count)
    }


def _schemes(space: SearchSpace) -> list[str]:
    return [scheme for scheme in QUANTS if any(scheme in site.candidates for site in space.sites)]


def _levels(space: SearchSpace) -> dict[str, int]:
    """Return the longest way from an input to each site."""
    graph = nx.DiGraph((edge.tensor, reader) for edge in space.edges for reader in edge.readers)
    generations = enumerate(nx.topological_generations(graph))
    level = {name: index for index, generation in generations for name in generation}
    return {site.name: level.get(site.name, 0) for site in space.sites}
