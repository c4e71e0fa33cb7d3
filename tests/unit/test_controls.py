"""What a search must beat: the best homogeneous configuration, precision alone, and draws at random."""

import itertools
from dataclasses import replace

import pytest
from joint_tables import SPACE, WIDTHS, configurations, random_joint, random_likings

from hwcomp.joint_cost import JointTable
from hwcomp.scheme import INT8
from hwcomp.search.controls import homogeneous, precision_alone, random_preference
from hwcomp.search.joint_projection import Configuration, Preference, project
from hwcomp.search.knapsack import Sensitivity

SEEDS = range(6)
LIKINGS = random_likings(0)
DISTANCES = Sensitivity(
    weights={
        site.name: {c: 0.0 if c == "float" else 1.0 + index for c in site.candidates}
        for index, site in enumerate(SPACE.free)
    },
    tensors={edge.tensor: 0.3 for edge in SPACE.edges},
)


def at_share(joint: JointTable, share: float) -> Configuration:
    """Integers everywhere, and the widths nearest to a share."""
    near = {group: min(few, key=lambda w: abs(w - share * few[-1])) for group, few in WIDTHS.items()}
    widths, assignment = {**joint.channels, **near}, SPACE.everywhere(INT8.name)
    return Configuration(assignment=assignment, widths=widths, predicted_us=joint.predict_us(assignment, widths))


@pytest.mark.parametrize("seed", SEEDS)
def test_homogeneous_is_the_largest_share_that_fits(seed: int) -> None:
    joint = random_joint(seed)
    uniform = {str(one.widths): one for one in (at_share(joint, share / 997) for share in range(998))}
    assert len(uniform) >= 3
    for limit in [one.predicted_us * (1 + 1e-9) for one in uniform.values()]:
        possible = [one for one in uniform.values() if one.predicted_us <= limit]
        found = homogeneous(joint, LIKINGS, limit)
        widest = max(possible, key=lambda one: sum(one.widths.values()))
        assert found is not None
        assert found.widths == widest.widths
        assert found.predicted_us <= widest.predicted_us * (1 + 1e-9)
        assert found.predicted_us == pytest.approx(joint.predict_us(found.assignment, found.widths))


@pytest.mark.parametrize("seed", SEEDS)
def test_where_float_is_faster_the_fastest_precision_is_taken(seed: int) -> None:
    """One operator that the target's integers slow down."""
    joint = random_joint(seed)
    slow = {**joint.site_laws["a"], "int8": joint.site_laws["a"]["float"].scaled(9.0)}
    slowed = replace(joint, site_laws={**joint.site_laws, "a": slow})
    found = homogeneous(slowed, LIKINGS, 1e6)
    assert found is not None
    assert found.assignment["a"] == "float"
    assert found.widths == joint.channels
    every = configurations(slowed, Preference(schemes=LIKINGS.schemes, widths={}))
    assert found.predicted_us == pytest.approx(min(one.predicted_us for one in every), rel=1e-3)


def test_nothing_fits_below_the_smallest_share() -> None:
    joint = random_joint(0)
    fastest_us = min(one.predicted_us for one in configurations(joint, LIKINGS))
    assert homogeneous(joint, LIKINGS, 0.99 * fastest_us) is None
    smallest = homogeneous(joint, LIKINGS, at_share(joint, 0.0).predicted_us * (1 + 1e-9))
    assert smallest is not None
    assert {group: smallest.widths[group] for group in WIDTHS} == {group: few[0] for group, few in WIDTHS.items()}


def test_homogeneous_takes_only_widths_that_a_search_may_take() -> None:
    few = Preference(schemes=LIKINGS.schemes, widths={"g": LIKINGS.widths["g"]})
    joint = random_joint(1)
    found = homogeneous(joint, few, 0.7 * joint.predict_us(SPACE.everywhere(INT8.name), {}))
    assert found is None or (found.widths["h"], found.widths["k"]) == (6, 4)
    whole = homogeneous(joint, few, 1e6)
    assert whole is not None
    assert whole.widths == joint.channels


@pytest.mark.parametrize("seed", SEEDS)
def test_precision_alone_is_the_least_sensitive_that_fits_at_full_widths(seed: int) -> None:
    joint = random_joint(seed)
    every = list(configurations(joint, Preference(schemes=LIKINGS.schemes, widths={})))
    times = sorted(one.predicted_us for one in every)
    for limit in (times[0] * (1 + 1e-6), times[len(times) // 3], times[-1] * (1 + 1e-6)):
        possible = [one for one in every if one.predicted_us <= limit]
        best = min(DISTANCES.total(joint.table, one.assignment) for one in possible)
        found = precision_alone(joint, DISTANCES, limit)
        assert found is not None
        assert found.widths == joint.channels
        assert found.predicted_us <= limit * (1 + 1e-6)
        assert found.predicted_us == pytest.approx(joint.predict_us(found.assignment, {}))
        assert DISTANCES.total(joint.table, found.assignment) <= best + 0.02
    assert precision_alone(joint, DISTANCES, 0.99 * times[0]) is None


def test_random_preferences_are_reproducible_and_differ_by_seed() -> None:
    first, again = random_preference(LIKINGS, "7 1"), random_preference(LIKINGS, "7 1")
    assert first == again
    drawn = [random_preference(LIKINGS, f"{seed} {number}") for seed in range(3) for number in range(3)]
    assert all(one != other for one, other in itertools.combinations(drawn, 2))


def test_random_preferences_are_probabilities_of_the_same_candidates() -> None:
    drawn = random_preference(LIKINGS, "0 1")
    for ours, theirs in ((drawn.schemes, LIKINGS.schemes), (drawn.widths, LIKINGS.widths)):
        assert {name: list(p) for name, p in ours.items()} == {name: list(p) for name, p in theirs.items()}
        for p in ours.values():
            assert sum(p.values()) == pytest.approx(1)
            assert min(p.values()) > 0


def test_random_draws_favour_no_candidate() -> None:
    """Every width is the most likely one about as often as any other, whatever the search preferred."""
    sharp = random_likings(1, sharpness=20.0)
    likeliest = [max(p, key=lambda w: p[w]) for p in (random_preference(sharp, f"{n}").widths["g"] for n in range(300))]
    assert all(70 <= likeliest.count(width) <= 130 for width in WIDTHS["g"])


def test_projected_draws_spread_over_the_space() -> None:
    joint = random_joint(0)
    limit = sorted(one.predicted_us for one in configurations(joint, LIKINGS))[100]
    found = [project(joint, random_preference(LIKINGS, f"{number}"), limit) for number in range(12)]
    assert all(one is not None and one.predicted_us <= limit * (1 + 1e-6) for one in found)
    assert len({str(one) for one in found}) >= 8
