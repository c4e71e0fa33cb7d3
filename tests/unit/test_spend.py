"""Configurations that use their budget, also where a search has hardly decided anything."""

import itertools
from statistics import mean

from joint_tables import configurations, random_joint, random_likings

from hwcomp.search.joint_projection import project
from hwcomp.search.spend import ENOUGH, spend
from hwcomp.search.tilt import tilted

SEEDS = range(6)
SHARES = (0.3, 0.5, 0.8)


def test_a_budget_is_used_where_the_search_is_undecided() -> None:
    used, before = [], []
    for seed in SEEDS:
        joint, preference = random_joint(seed), random_likings(seed, sharpness=0.1)
        every = sorted(one.predicted_us for one in configurations(joint, preference))
        for share in SHARES:
            limit = every[int(share * len(every))]
            found = spend(joint, preference, limit)
            once = project(joint, tilted(joint, preference, limit), limit)
            assert found is not None
            assert once is not None
            assert found.predicted_us <= limit * (1 + 1e-6)
            used.append(found.predicted_us / limit)
            before.append(once.predicted_us / limit)
    assert mean(used) > 0.95
    assert mean(used) > mean(before) + 0.05
    assert all(after >= one for after, one in zip(used, before, strict=True))


def test_what_uses_its_budget_stays() -> None:
    """The probabilities are moved no further than they must."""
    stayed = 0
    for seed, share in itertools.product(SEEDS, (0.2, 0.3, 0.4, 0.5, 0.6)):
        joint, preference = random_joint(seed), random_likings(seed)
        limit = share * joint.predict_us({}, {})
        once = project(joint, tilted(joint, preference, limit), limit)
        if once is not None and once.predicted_us >= ENOUGH * limit:
            stayed += 1
            assert spend(joint, preference, limit) == once
    assert stayed >= 3


def test_nothing_is_within_an_impossible_limit() -> None:
    assert spend(random_joint(0), random_likings(0), 1e-3) is None
