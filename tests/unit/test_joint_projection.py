"""From probabilities to a configuration: within the limit always, and nearly as good as trying everything."""

from dataclasses import replace
from math import log
from statistics import mean

import pytest
from joint_tables import FIXED, SPACE, WIDTHS, configurations, random_joint, random_likings

from hwcomp.joint_cost import JointTable
from hwcomp.search.joint_projection import LEAST, Configuration, Preference, project
from hwcomp.width_law import Polynomial

SEEDS = range(12)
SHARES = (0.02, 0.2, 0.5, 0.8)
"""Of all configurations, those that are fast enough."""

WITHIN = 1 + 1e-6


def limit_us(every: list[Configuration], share: float) -> float:
    return sorted(one.predicted_us for one in every)[int(share * len(every))]


def test_nearly_as_likely_as_the_best_of_all() -> None:
    """Choosing in turn may end where neither choice alone improves: seldom, and then not far from the best."""
    gaps = []
    for seed in SEEDS:
        joint, preference = random_joint(seed), random_likings(seed)
        every = list(configurations(joint, preference))
        for share in SHARES:
            limit = limit_us(every, share)
            best = max(preference.value(one) for one in every if one.predicted_us <= limit)
            found = project(joint, preference, limit)
            assert found is not None
            assert found.predicted_us <= limit * WITHIN
            gaps.append(best - preference.value(found))
    assert min(gaps) > -1e-9, "nothing is more likely than the best"
    assert mean(gap < 1e-3 for gap in gaps) >= 0.85
    assert mean(gaps) < 0.15
    assert max(gaps) < 3


@pytest.mark.parametrize("seed", range(4))
def test_a_configuration_is_complete_and_its_latency_is_the_tables(seed: int) -> None:
    joint, preference = random_joint(seed), random_likings(seed)
    found = project(joint, preference, limit_us(list(configurations(joint, preference)), 0.4))
    assert found is not None
    assert list(found.assignment) == [site.name for site in SPACE.sites]
    assert {*found.widths} == {*WIDTHS, *FIXED}
    assert found.predicted_us == pytest.approx(joint.predict_us(found.assignment, found.widths))


def test_without_need_the_most_likely_candidates_are_taken() -> None:
    joint, preference = random_joint(0), random_likings(0, sharpness=4.0)
    preference = replace(preference, schemes={s: dict.fromkeys(p, 1 / len(p)) for s, p in preference.schemes.items()})
    preference = replace(preference, schemes={**preference.schemes, "a": {"float": 0.1, "int8": 0.9}})
    found = project(joint, preference, 1e6)
    assert found is not None
    assert found.assignment["a"] == "int8"
    assert all(found.widths[group] == max(p, key=lambda width: p[width]) for group, p in preference.widths.items())


def test_the_fastest_of_all_is_found_and_nothing_below_it() -> None:
    for seed in SEEDS:
        joint, preference = random_joint(seed), random_likings(seed)
        fastest = min(configurations(joint, preference), key=lambda one: one.predicted_us)
        found = project(joint, preference, fastest.predicted_us * WITHIN)
        assert found is not None
        assert found.predicted_us == pytest.approx(fastest.predicted_us, rel=1e-5)
        assert project(joint, preference, 0.99 * fastest.predicted_us) is None


def test_what_is_not_named_stays_whole_and_float() -> None:
    joint = random_joint(3)
    likings = random_likings(3)
    alone = Preference(
        schemes={"a": likings.schemes["a"], "b": likings.schemes["b"]}, widths={"g": likings.widths["g"]}
    )
    every = [
        one for one in configurations(joint, likings)
        if one.assignment["c"] == one.assignment["d"] == "float" and one.widths["h"] == 6 and one.widths["k"] == 4
    ]  # fmt: skip
    for share in SHARES:
        limit = limit_us(every, share)
        found = project(joint, alone, limit)
        assert found is not None
        assert found.predicted_us <= limit * WITHIN
        assert {group: found.widths[group] for group in ("h", "k", "fixed")} == {"h": 6, "k": 4, "fixed": 5}
        assert (found.assignment["c"], found.assignment["d"]) == ("float", "float")


def test_without_widths_precision_alone_is_chosen() -> None:
    joint, likings = random_joint(1), random_likings(1)
    preference = Preference(schemes=likings.schemes, widths={})
    every = list(configurations(joint, preference))
    limit = limit_us(every, 0.3)
    found = project(joint, preference, limit)
    assert found is not None
    assert found.widths == joint.channels
    best = max(preference.value(one) for one in every if one.predicted_us <= limit)
    assert preference.value(found) == pytest.approx(best, abs=1e-2)


def test_candidates_that_cost_the_same_are_told_apart_by_their_probability_alone() -> None:
    """A law that does not depend on the widths: all of them fit."""
    joint = random_joint(2)
    flat = {site: dict.fromkeys(laws, Polynomial(constant=1.0)) for site, laws in joint.site_laws.items()}
    nothing = {edge.tensor: Polynomial() for edge in SPACE.edges}
    level = JointTable(
        table=joint.table, channels=joint.channels, site_laws=flat, quantize_laws=nothing, dequantize_laws=nothing
    )
    likings = random_likings(2)
    found = project(level, likings, 1.3 * len(SPACE.sites) * WITHIN)
    assert found is not None
    best = max(configurations(level, likings), key=likings.value)
    assert likings.value(found) == pytest.approx(likings.value(best), abs=1e-2)


def test_a_candidate_of_no_probability_counts_as_the_least_one() -> None:
    likings = random_likings(0)
    certain = replace(likings, widths={"g": {2: 0.0, 4: 0.0, 8: 1.0}})
    found = project(random_joint(0), certain, 1e6)
    assert found is not None
    assert found.widths["g"] == 8
    other = replace(found, widths={**found.widths, "g": 2})
    assert certain.value(found) - certain.value(other) == pytest.approx(-log(LEAST))
