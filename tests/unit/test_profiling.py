"""Which assignments are profiled, and which round counts."""

import pytest

from hwcomp.lowering.onnxruntime import Owner
from hwcomp.profiling import CONTROL, HELD_OUT, control_of, designed_assignments, profile_space
from hwcomp.scheme import FLOAT, reads_integers, writes_integers
from hwcomp.space import Edge, SearchSpace, Site


def chain(length: int, candidates: tuple[str, ...] = ("float", "int8")) -> SearchSpace:
    names = [f"s{i}" for i in range(length)]
    tensors = ["x", *names]
    readers = [*names, "output"]
    return SearchSpace(
        sites=tuple(Site(name=n, op="conv2d", candidates=candidates) for n in names),
        edges=tuple(Edge(tensor=t, elements=10, readers=(r,)) for t, r in zip(tensors, readers, strict=True)),
    )


@pytest.mark.parametrize("length", [2, 3, 4, 5, 9, 30])
def test_every_edge_is_converted_in_both_directions(length: int) -> None:
    space = chain(length)
    designed = designed_assignments(space, 0)
    designed.pop(HELD_OUT)
    for edge in space.edges[1:-1]:
        pairs = {(writes_integers(a[edge.tensor]), reads_integers(a[edge.readers[0]])) for a in designed.values()}
        assert pairs == {(False, False), (True, True), (True, False), (False, True)}
    first, last = space.edges[0], space.edges[-1]
    assert any(reads_integers(a[first.readers[0]]) for a in designed.values())
    assert any(writes_integers(a[last.tensor]) for a in designed.values())


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("length", [1, 2, 3, 7, 20])
def test_no_single_float_site_lies_between_integers(length: int, seed: int) -> None:
    """The runtime would compute it in integers all the same."""
    for name, assignment in designed_assignments(chain(length), seed).items():
        choices = [assignment[f"s{i}"] != FLOAT for i in range(length)]
        lonely = [i for i in range(1, length - 1) if choices[i - 1] and not choices[i] and choices[i + 1]]
        assert lonely == [], name


def test_every_scheme_is_seen_everywhere() -> None:
    space = chain(4, ("float", "int8", "int8_float_output", "weight8", "weight4"))
    designed = designed_assignments(space, 0)
    assert set(designed[CONTROL].values()) == {FLOAT}
    for scheme in ("int8", "int8_float_output", "weight8", "weight4"):
        assert set(designed[scheme].values()) == {scheme}


def test_the_seed_decides_the_held_out_pattern() -> None:
    space = chain(40)
    drawn = [designed_assignments(space, seed)[HELD_OUT] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert FLOAT in drawn[0].values()
    assert "int8" in drawn[0].values()


def test_sites_side_by_side_share_a_level() -> None:
    """Branches that start at one tensor turn to integers together."""
    both = ("float", "int8")
    space = SearchSpace(
        sites=tuple(Site(name=n, op="conv2d", candidates=both) for n in ("stem", "left", "right", "join")),
        edges=(
            Edge(tensor="x", elements=1, readers=("stem",)),
            Edge(tensor="stem", elements=1, readers=("left", "right")),
            Edge(tensor="left", elements=1, readers=("join",)),
            Edge(tensor="right", elements=1, readers=("join",)),
            Edge(tensor="join", elements=1, readers=("output",)),
        ),
    )
    for assignment in designed_assignments(space, 0).values():
        assert assignment["left"] == assignment["right"]


def test_the_fastest_round_counts_and_rounds_are_interleaved() -> None:
    space = chain(2)
    designed = {name: designed_assignments(space, 0)[name] for name in (CONTROL, "int8")}
    order: list[str] = []
    times = {CONTROL: iter([9.0, 5.0, 7.0]), "int8": iter([3.0, 4.0, 2.0])}

    def run(name: str) -> dict[Owner, float]:
        order.append(name)
        return {Owner(kind="site", name="s0"): next(times[name]), Owner(kind="tensor", name="x"): 1.0}

    profiles = profile_space(designed, run)
    assert order == [CONTROL, "int8", "int8", CONTROL, CONTROL, "int8"]
    assert [p.site_us["s0"] for p in profiles] == [5.0, 2.0]
    assert [p.total_us for p in profiles] == [6.0, 3.0]
    assert control_of(profiles).name == CONTROL
