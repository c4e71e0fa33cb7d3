"""Which assignments are measured: every kernel and conversion is seen, and the runtime computes them as they stand."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwcomp.design import CONTROL, designed_assignments, legal, random_assignments
from hwcomp.scheme import FLOAT, reads_integers, writes_integers
from hwcomp.space import FOLLOWS_READERS, Edge, SearchSpace, Site

INT8 = ("float", "int8")
LINEAR = ("float", "int8", "int8_float_output", "weight8", "weight4")


def chain(length: int, candidates: tuple[str, ...] = INT8) -> SearchSpace:
    """Return sites one after the other."""
    names = [f"s{i}" for i in range(length)]
    edges = zip(["x", *names], [*names, "output"], strict=True)
    return SearchSpace(
        sites=tuple(Site(name=name, op="conv2d", candidates=candidates) for name in names),
        edges=tuple(Edge(tensor=tensor, elements=10, readers=(reader,)) for tensor, reader in edges),
    )


def graph(
    sources: dict[str, list[str]],
    candidates: dict[str, tuple[str, ...]] | None = None,
    ops: dict[str, str] | None = None,
) -> SearchSpace:
    """Return sites that read the tensors given, in execution order; what nobody reads is the output."""
    tensors, candidates, ops = ["x", *sources], candidates or {}, ops or {}
    readers = {tensor: [name for name, read in sources.items() if tensor in read] for tensor in tensors}
    return SearchSpace(
        sites=tuple(Site(name=n, op=ops.get(n, "conv2d"), candidates=candidates.get(n, INT8)) for n in sources),
        edges=tuple(Edge(tensor=t, elements=10, readers=tuple(readers[t]) or ("output",)) for t in tensors),
    )


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Draw any graph of up to twelve sites, each with its own candidates."""
    sources: dict[str, list[str]] = {}
    for index in range(draw(st.integers(1, 12))):
        before = ["x", *sources]
        sources[f"s{index}"] = draw(st.lists(st.sampled_from(before), min_size=1, max_size=3, unique=True))
    kinds = st.sampled_from([("float",), INT8, LINEAR, ("float", "weight8", "int8"), ("float", "weight4")])
    ops = st.sampled_from(["conv2d", "add", "max_pool2d", "reshape"])
    return graph(sources, {name: draw(kinds) for name in sources}, {name: draw(ops) for name in sources})


@st.composite
def chosen(draw: st.DrawFn) -> tuple[SearchSpace, dict[str, str]]:
    space = draw(spaces())
    return space, {site.name: draw(st.sampled_from(site.candidates)) for site in space.sites}


def lonely(space: SearchSpace, assignment: dict[str, str]) -> list[str]:
    """Return the float sites that the runtime would compute in integers: they read and are read as nothing else."""
    found = []
    for site in space.sites:
        made = [edge.tensor for edge in space.edges if site.name in edge.readers]
        read = [reader for edge in space.edges if edge.tensor == site.name for reader in edge.readers]
        has_integers = any(reads_integers(candidate) for candidate in site.candidates)
        if assignment[site.name] == FLOAT and has_integers:
            among = all(writes_integers(assignment.get(tensor, FLOAT)) for tensor in made)
            if among and all(reads_integers(assignment.get(reader, FLOAT)) for reader in read):
                found.append(site.name)
    return found


@pytest.mark.parametrize("length", [2, 3, 4, 5, 9, 30])
def test_every_edge_is_converted_in_both_directions(length: int) -> None:
    space = chain(length)
    designed = designed_assignments(space).values()
    for edge in space.edges[1:-1]:
        pairs = {(writes_integers(a[edge.tensor]), reads_integers(a[edge.readers[0]])) for a in designed}
        assert pairs == {(False, False), (True, True), (True, False), (False, True)}
    first, last = space.edges[0], space.edges[-1]
    assert any(reads_integers(a[first.readers[0]]) for a in designed)
    assert any(writes_integers(a[last.tensor]) for a in designed)


def test_every_scheme_is_seen_everywhere() -> None:
    designed = designed_assignments(chain(4, LINEAR))
    assert next(iter(designed)) == CONTROL
    assert set(designed[CONTROL].values()) == {FLOAT}
    for scheme in LINEAR[1:]:
        assert set(designed[scheme].values()) == {scheme}


def test_sites_without_a_scheme_compute_in_integers_beside_it_only_if_it_reads_integers() -> None:
    """So that a scheme is seen among its like: between integers, or in float."""
    space = graph({"conv": ["x"], "fc": ["conv"]}, {"fc": LINEAR})
    designed = designed_assignments(space)
    assert designed["int8_float_output"] == {"conv": "int8", "fc": "int8_float_output"}
    assert designed["weight4"] == {"conv": "float", "fc": "weight4"}


def test_patterns_turn_pairs_of_levels() -> None:
    designed = designed_assignments(chain(8))
    patterns = [a for name, a in designed.items() if name.startswith("alternating")]
    assert len(patterns) == 4
    for index in range(8):
        assert sum(pattern[f"s{index}"] == "int8" for pattern in patterns) == 2
    for pattern in patterns:
        in_integers = [pattern[f"s{i}"] != FLOAT for i in range(8)]
        assert [a for a, b in zip(in_integers, in_integers[2:], strict=False) if a == b] == []


def test_no_assignment_comes_twice() -> None:
    for space in (chain(1), chain(2), chain(3, ("float",))):
        designed = list(designed_assignments(space).values())
        assert all(one not in designed[:index] for index, one in enumerate(designed))


def test_branches_of_one_length_turn_together() -> None:
    space = graph({"stem": ["x"], "left": ["stem"], "right": ["stem"], "join": ["left", "right"]})
    for assignment in designed_assignments(space).values():
        assert assignment["left"] == assignment["right"]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 20])
def test_no_float_site_lies_alone_between_integers(length: int) -> None:
    """The runtime would compute it in integers all the same."""
    space = chain(length)
    for assignment in designed_assignments(space).values():
        assert lonely(space, assignment) == []


@given(spaces(), st.integers(0, 2**31))
def test_random_assignments_are_computed_as_they_stand(space: SearchSpace, seed: int) -> None:
    for assignment in random_assignments(space, 5, random.Random(seed)):
        assert lonely(space, assignment) == []
        assert legal(space, assignment) == assignment == space.complete(assignment)


@given(chosen())
def test_legal_only_turns_float_into_integers(case: tuple[SearchSpace, dict[str, str]]) -> None:
    space, assignment = case
    made = legal(space, assignment)
    assert list(made) == [site.name for site in space.sites]
    for name, before in assignment.items():
        if made[name] != before:
            assert before == FLOAT
            assert reads_integers(made[name])
    assert lonely(space, made) == []
    assert legal(space, made) == made


@given(chosen())
def test_legal_keeps_what_has_no_lonely_site(case: tuple[SearchSpace, dict[str, str]]) -> None:
    """A float operator that computes stays so if it reads anything in float, or nothing reads it as integers."""
    space, assignment = case
    made = legal(space, assignment)
    for site in space.sites:
        if site.op in FOLLOWS_READERS:
            continue
        read_in_float = any(
            site.name in edge.readers and not writes_integers(made.get(edge.tensor, FLOAT)) for edge in space.edges
        )
        readers = [reader for edge in space.edges if edge.tensor == site.name for reader in edge.readers]
        if read_in_float or not any(reads_integers(made.get(reader, FLOAT)) for reader in readers):
            assert made[site.name] == assignment[site.name]


@pytest.mark.parametrize("op", ["max_pool2d", "reshape"])
def test_a_quantisation_moves_before_what_only_moves_values(op: str) -> None:
    """Whatever it reads; a convolution in its place stays float."""
    space = graph({"move": ["x"], "conv": ["move"]}, ops={"move": op})
    assert legal(space, {"conv": "int8"}) == {"move": "int8", "conv": "int8"}
    computes = graph({"move": ["x"], "conv": ["move"]})
    assert legal(computes, {"conv": "int8"}) == {"move": "float", "conv": "int8"}


def test_integers_are_those_that_an_operator_has() -> None:
    """A weight-only scheme reads floats, in whatever order the schemes are listed."""
    space = chain(3, ("float", "weight8", "int8"))
    assert legal(space, {"s0": "int8", "s2": "int8"})["s1"] == "int8"
    only = graph({"a": ["x"], "b": ["a"], "c": ["b"]}, {"b": ("float", "weight8")})
    assert legal(only, {"a": "int8", "c": "int8"})["b"] == "float"


def test_the_seed_decides_the_random_assignments() -> None:
    space = chain(40)
    one, again, other = (random_assignments(space, 5, random.Random(seed)) for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_random_assignments_reach_from_float_to_integers() -> None:
    space = chain(60, LINEAR)
    drawn = random_assignments(space, 200, random.Random(0))
    shares = [sum(choice != FLOAT for choice in assignment.values()) / 60 for assignment in drawn]
    assert sum(share < 0.1 for share in shares) > 8
    assert sum(share > 0.9 for share in shares) > 8
    assert sum(0.3 < share < 0.7 for share in shares) > 30
    assert {choice for assignment in drawn for choice in assignment.values()} == set(LINEAR)


def test_some_random_assignments_change_in_runs() -> None:
    """As searched ones do; in the others, of as many integers, operators draw alone and change more often."""
    changes = []
    for assignment in random_assignments(chain(60), 300, random.Random(0)):
        choices = list(assignment.values())
        if 0.4 < sum(choice != FLOAT for choice in choices) / 60 < 0.7:
            changes.append(sum(a != b for a, b in pairwise(choices)))
    assert sum(count <= 8 for count in changes) > 0.15 * len(changes)
    assert sum(count >= 12 for count in changes) > 0.3 * len(changes)
