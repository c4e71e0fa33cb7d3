"""The exact search against trying everything."""

import itertools
import random

import numpy as np
import pytest

from hwcomp.cost import CostTable
from hwcomp.scheme import FLOAT, reads_integers, writes_integers
from hwcomp.search.knapsack import Sensitivity, solve
from hwcomp.space import Edge, SearchSpace, Site

BOTH = ("float", "int8")
SPLIT = "float:0.25+int8"
CANDIDATES = [
    ("float",),
    BOTH,
    BOTH,
    (*BOTH, "int8_float_output"),
    ("float", "weight8"),
    (*BOTH, SPLIT),
    (*BOTH, SPLIT),
]
SLACK = 1.002
"""The solver may stop within a thousandth of the optimum."""


def problem(seed: int) -> tuple[CostTable, Sensitivity]:
    """A small random network: every site reads one or two earlier tensors."""
    r = random.Random(seed)
    names = [f"s{i}" for i in range(r.randint(2, 6))]
    sites = tuple(Site(name=n, op="conv2d", candidates=r.choice(CANDIDATES)) for n in names)
    readers: dict[str, list[str]] = {"x": [], **{n: [] for n in names}}
    for i, name in enumerate(names):
        pool = ["x", *names[:i]]
        for source in {pool[-1], r.choice(pool)}:
            readers[source].append(name)
    for users in readers.values():
        if not users:
            users.append("output")
    edges = tuple(Edge(tensor=t, elements=r.randint(1, 99), readers=tuple(u)) for t, u in readers.items())
    slowest = {FLOAT: 20}
    table = CostTable(
        space=SearchSpace(sites=sites, edges=edges),
        site_us={s.name: {c: r.uniform(0.3, slowest.get(c, 12)) for c in s.candidates} for s in sites},
        quantize_us={e.tensor: r.uniform(0, 3) for e in edges},
        dequantize_us={e.tensor: r.uniform(0, 3) for e in edges},
        correction=r.uniform(0.5, 2),
    )
    weights = {s.name: {c: r.uniform(0.01, 1) for c in s.candidates if c not in (FLOAT, SPLIT)} for s in sites}
    return table, Sensitivity(weights=weights, tensors={e.tensor: r.uniform(0.01, 1) for e in edges})


def between_integers(table: CostTable, chosen: dict[str, str]) -> list[str]:
    """Sites that could be integers, are float, and lie between integers on all sides."""
    found = []
    for site in table.space.free:
        sources = [e for e in table.space.edges if site.name in e.readers]
        own = [e for e in table.space.edges if e.tensor == site.name]
        fed = bool(sources) and all(writes_integers(chosen.get(e.tensor, FLOAT)) for e in sources)
        read = any(reads_integers(chosen.get(user, FLOAT)) for e in own for user in e.readers)
        if chosen[site.name] == FLOAT and fed and read:
            found.append(site.name)
    return found


def everything(table: CostTable, sensitivity: Sensitivity) -> list[tuple[float, float, dict[str, str]]]:
    sites = table.space.sites
    found = []
    for choices in itertools.product(*(site.candidates for site in sites)):
        chosen = {site.name: choice for site, choice in zip(sites, choices, strict=True)}
        if not between_integers(table, chosen):
            found.append((table.predict_us(chosen), sensitivity.total(table, chosen), chosen))
    return found


def limit_between(values: list[float], share: float) -> float:
    """A limit in the middle of two neighbouring values, so that rounding decides nothing."""
    ordered = np.unique(np.round(values, 9))
    index = min(int(share * len(ordered)), len(ordered) - 2)
    return float((ordered[index] + ordered[index + 1]) / 2) if len(ordered) > 1 else float(ordered[0]) + 1


@pytest.mark.parametrize("seed", range(30))
def test_no_limit_gives_the_fastest(seed: int) -> None:
    table, sensitivity = problem(seed)
    best = min(latency for latency, _, _ in everything(table, sensitivity))
    chosen = solve(table, sensitivity)
    assert chosen is not None
    assert table.predict_us(chosen) <= best * SLACK
    assert between_integers(table, chosen) == []


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(20))
def test_a_latency_limit_gives_the_least_sensitive(seed: int, share: float) -> None:
    table, sensitivity = problem(seed)
    points = everything(table, sensitivity)
    limit = limit_between([latency for latency, _, _ in points], share)
    best = min(distance for latency, distance, _ in points if latency <= limit)
    chosen = solve(table, sensitivity, max_latency_us=limit)
    assert chosen is not None
    assert table.predict_us(chosen) <= limit
    assert sensitivity.total(table, chosen) <= best * SLACK + 1e-4
    assert between_integers(table, chosen) == []


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(20))
def test_a_distance_limit_gives_the_fastest_within_it(seed: int, share: float) -> None:
    table, sensitivity = problem(seed)
    points = everything(table, sensitivity)
    limit = limit_between([distance for _, distance, _ in points], share)
    best = min(latency for latency, distance, _ in points if distance <= limit)
    chosen = solve(table, sensitivity, max_distance=limit)
    assert chosen is not None
    assert sensitivity.total(table, chosen) <= limit
    assert table.predict_us(chosen) <= best * SLACK
    assert between_integers(table, chosen) == []


def test_an_impossible_limit_gives_none() -> None:
    table, sensitivity = problem(1)
    fastest = min(latency for latency, _, _ in everything(table, sensitivity))
    assert solve(table, sensitivity, max_latency_us=0.5 * fastest) is None


def test_float_alone_is_left_where_nothing_may_be_lost() -> None:
    table, sensitivity = problem(2)
    chosen = solve(table, sensitivity, max_distance=0.0)
    assert chosen is not None
    assert set(chosen.values()) == {FLOAT}


def test_a_single_slow_integer_site_takes_its_neighbours_along() -> None:
    """Float between integers would be best by the table, but the runtime would not compute it in float."""
    sites = tuple(Site(name=n, op="conv2d", candidates=BOTH) for n in "abc")
    wires = {"x": "a", "a": "b", "b": "c", "c": "output"}
    edges = tuple(Edge(tensor=tensor, elements=1, readers=(reader,)) for tensor, reader in wires.items())
    free = {e.tensor: 0.0 for e in edges}
    table = CostTable(
        space=SearchSpace(sites=sites, edges=edges),
        site_us={"a": {"float": 9, "int8": 1}, "b": {"float": 1, "int8": 3}, "c": {"float": 9, "int8": 1}},
        quantize_us=free,
        dequantize_us=free,
    )
    chosen = solve(table, Sensitivity(weights={}, tensors={}))
    assert chosen == {"a": "int8", "b": "int8", "c": "int8"}
