"""Probabilities are moved to another budget: the expected latency is there, and candidates move by what they cost."""

import pytest
import torch

from hwcomp.joint_cost import JointTable
from hwcomp.search.joint_projection import Preference
from hwcomp.search.tilt import tilted
from tests.joint_tables import random_joint, random_likings


def expected_us(joint: JointTable, preference: Preference) -> float:
    schemes = {site: torch.tensor(list(p.values()), dtype=torch.float64) for site, p in preference.schemes.items()}
    widths = {g: (list(p), torch.tensor(list(p.values()), dtype=torch.float64)) for g, p in preference.widths.items()}
    return float(joint.expected_us(schemes, widths))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("factor", [0.8, 0.95, 1.0, 1.1])
def test_the_expected_latency_is_moved_to_the_budget(seed: int, factor: float) -> None:
    joint, preference = random_joint(seed), random_likings(seed, 1.0)
    limit_us = factor * expected_us(joint, preference)
    moved = tilted(joint, preference, limit_us)
    assert expected_us(joint, moved) == pytest.approx(limit_us, rel=1e-3)
    for before, after in zip(
        (*preference.schemes.values(), *preference.widths.values()),
        (*moved.schemes.values(), *moved.widths.values()),
        strict=True,
    ):
        assert list(before) == list(after)
        assert sum(after.values()) == pytest.approx(1.0)
        if factor == 1.0:
            assert list(after.values()) == pytest.approx(list(before.values()), abs=1e-3)


def test_a_budget_beyond_all_candidates_takes_the_slowest_and_one_below_all_the_fastest() -> None:
    joint, preference = random_joint(0), random_likings(0, 1.0)
    now_us = expected_us(joint, preference)
    slow, fast = tilted(joint, preference, 100 * now_us), tilted(joint, preference, now_us / 100)
    assert expected_us(joint, slow) > 1.05 * now_us > 1.1 * expected_us(joint, fast)
    for p in slow.widths.values():
        assert max(p, key=lambda width: p[width]) == max(p)


def test_without_candidates_nothing_moves() -> None:
    nothing = Preference(schemes={}, widths={})
    assert tilted(random_joint(0), nothing, 1.0) == nothing
