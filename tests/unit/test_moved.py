"""Probabilities are led to a latency where their costs change on the way."""

from dataclasses import replace

import pytest
from joint_tables import configurations, random_joint, random_likings

from hwcomp.joint_cost import JointTable
from hwcomp.search.joint_projection import Preference, fastest
from hwcomp.search.moved import expected_us, moved
from hwcomp.search.tilt import tilted

SEEDS = range(8)


def dear_conversions(seed: int) -> JointTable:
    """Changes of format take eight times as long, so what an operator costs depends on its neighbours."""
    joint = random_joint(seed)
    quantize, dequantize = (
        {tensor: law.scaled(8.0) for tensor, law in laws.items()}
        for laws in (joint.quantize_laws, joint.dequantize_laws)
    )
    return replace(joint, quantize_laws=quantize, dequantize_laws=dequantize)


def undecided(preference: Preference) -> Preference:
    """Equal probabilities: where a search begins."""
    return Preference(
        schemes={site: dict.fromkeys(p, 1 / len(p)) for site, p in preference.schemes.items()},
        widths={group: dict.fromkeys(p, 1 / len(p)) for group, p in preference.widths.items()},
    )


@pytest.mark.parametrize("above", [1.01, 1.03, 1.1, 1.5])
def test_a_budget_that_can_be_had_is_expected(above: float) -> None:
    """Also where only few networks are fast enough."""
    for seed in SEEDS:
        joint, start = dear_conversions(seed), undecided(random_likings(seed))
        limit_us = above * fastest(joint, start).predicted_us
        found = moved(joint, start, limit_us)
        assert expected_us(joint, found) == pytest.approx(limit_us, rel=5e-3), seed
        for p in (*found.schemes.values(), *found.widths.values()):
            assert sum(p.values()) == pytest.approx(1.0)


def test_the_costs_at_the_start_alone_lead_elsewhere() -> None:
    """Why the way is divided: integers between float neighbours are dear, and between integers they are not."""
    ends = []
    for seed in SEEDS:
        joint, start = dear_conversions(seed), undecided(random_likings(seed))
        limit_us = 1.01 * fastest(joint, start).predicted_us
        ends.append(expected_us(joint, tilted(joint, start, limit_us)) / limit_us)
    assert max(ends) > 1.05


def test_a_short_way_is_one_step() -> None:
    joint, likings = random_joint(0), random_likings(0)
    for factor in (0.95, 1.0, 1.05):
        limit_us = factor * expected_us(joint, likings)
        assert moved(joint, likings, limit_us) == tilted(joint, likings, limit_us)


def test_beyond_all_candidates_the_fastest_and_the_slowest_are_left() -> None:
    joint, likings = random_joint(1), undecided(random_likings(1))
    every = [one.predicted_us for one in configurations(joint, likings)]
    assert expected_us(joint, moved(joint, likings, min(every) / 3)) == pytest.approx(min(every), rel=0.02)
    assert expected_us(joint, moved(joint, likings, 3 * max(every))) == pytest.approx(max(every), rel=0.02)
