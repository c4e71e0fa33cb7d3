"""A contest: drafts are repaired until the budget is met by measurement, and the best one by the mean wins."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from joint_tables import configurations, random_joint, random_likings
from torch import nn

from hwcomp.config import Budget
from hwcomp.console import Reporter
from hwcomp.contest import POST_TRAINING, Contest
from hwcomp.contestant import Contestant, winner
from hwcomp.draft import Drafted
from hwcomp.errors import InputError
from hwcomp.fitting import DRAFTS, MARGIN
from hwcomp.groups import width_groups
from hwcomp.search.configurations import Realised
from hwcomp.search.joint_projection import Configuration, Preference
from hwcomp.search.knapsack import Sensitivity
from hwcomp.search.records import SEARCHED
from hwcomp.search_options import SearchOptions
from hwcomp.searched import _nothing
from hwcomp.stages import Stages
from hwcomp.tracing import trace
from hwcomp.winner import draft_of, winner_of

JOINT, LIKINGS = random_joint(5), random_likings(5)
SPLIT = "float:0.25+int8"
EVERY = sorted(configurations(JOINT, LIKINGS), key=lambda one: one.predicted_us)
FLOAT_US = JOINT.predict_us({}, {})
FASTEST_US, MIDDLE_US = EVERY[0].predicted_us, EVERY[len(EVERY) // 2].predicted_us

Measure = Callable[[float], float]
Metric = Callable[[str, int], float | None]


class Realiser:
    """Networks are their widths; how good they are is told by a function of the contestant's name and the seed."""

    def __init__(self, metric: Metric = lambda *_: None) -> None:
        self.metric = metric
        self.network = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), (torch.zeros(1, 3, 8, 8),))
        self.trainings: list[tuple[str, float, int]] = []

    def built(self, configuration: Configuration) -> Any:
        return SimpleNamespace(network=configuration.widths, assignment=configuration.assignment)

    def trained(self, configuration: Configuration, name: str, share: float, seed: int) -> Realised:
        self.trainings.append((name, share, seed))
        metric = self.metric(name.removeprefix("differentiable, "), seed)
        return Realised(network=self.network, assignment=configuration.assignment, params={}, metric=metric, history=())


class Drafts:
    """Measures something else than the table says."""

    def __init__(self, measured: Measure) -> None:
        self.measured, self.seen = measured, list[str]()

    @property
    def count(self) -> int:
        return len(self.seen)

    def __call__(self, network: Any, assignment: Any) -> Drafted:
        self.seen.append(f"{assignment} {network}")
        latency_us = self.measured(JOINT.predict_us(assignment, network))
        return Drafted(latency_us=latency_us, speedup=FLOAT_US / latency_us)


def refuse(_: float) -> float:
    raise AssertionError("nothing has to be measured")


def latency(us: float) -> Budget:
    return Budget(kind="latency", value=us)


def contest(folder: Path, measured: Measure, budget: Budget, limit_us: float, **others: Any) -> Contest:
    parts: dict[str, Any] = {
        "realiser": Realiser(),
        "seed": 0,
        "key": "key",
        "joint": JOINT,
        "post_training": {},
        **others,
    }
    return Contest(
        preference=LIKINGS, sensitivity=Sensitivity(weights={}, tensors={}), drafts=Drafts(measured),
        budget=budget, limit_us=limit_us, stages=Stages(folder), **parts,
    )  # fmt: skip


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.2, 1.7])
@pytest.mark.parametrize("kind", ["latency", "speedup"])
def test_drafts_are_repaired_until_they_use_the_budget(tmp_path: Path, kind: Any, factor: float) -> None:
    """On a device that is faster or slower than its table: what is found is nearly the best of all that meet it."""
    budget = Budget(kind=kind, value=MIDDLE_US if kind == "latency" else FLOAT_US / MIDDLE_US)
    one = contest(tmp_path, lambda us: factor * us, budget, MIDDLE_US)
    found = one.searched()
    assert found is not None
    assert found.drafted.share_of(budget) <= 1
    assert found.drafted.latency_us == pytest.approx(factor * found.configuration.predicted_us)
    assert len({*one.drafts.seen}) == one.drafts.count <= DRAFTS, "nothing is timed twice"
    possible = [one for one in EVERY if factor * one.predicted_us <= MARGIN * MIDDLE_US]
    if possible:
        slowest = max(factor * one.predicted_us for one in possible)
        assert found.drafted.latency_us >= 0.7 * slowest, "what the budget allows is used"
    else:
        assert found.drafted.share_of(budget) > MARGIN


def test_a_start_that_no_device_keeps_up_with_is_repaired_too(tmp_path: Path) -> None:
    """A fixed cost that the table does not know."""
    found = contest(tmp_path, lambda us: us + 0.3 * MIDDLE_US, latency(MIDDLE_US), MIDDLE_US).searched()
    assert found is not None
    assert found.drafted.latency_us <= MIDDLE_US


def test_layers_of_two_schemes_that_cost_more_than_the_table_says_are_left_out(tmp_path: Path) -> None:
    """They are likely and look cheap; where drafts with them use little of the budget, others use it."""
    site = next(name for name, found in LIKINGS.schemes.items() if "int8" in found)
    joint = JOINT.with_candidates({site: {SPLIT: JOINT.site_laws[site]["int8"]}})
    tempted = {**{choice: 1e-3 * p for choice, p in LIKINGS.schemes[site].items()}, SPLIT: 0.999}
    preference = Preference(schemes={**LIKINGS.schemes, site: tempted}, widths=LIKINGS.widths)
    assert preference.has_splits
    assert preference.without_splits().schemes[site] == pytest.approx({**LIKINGS.schemes[site], SPLIT: 0.0})

    def drafted(network: Any, assignment: Any) -> Drafted:
        latency_us = joint.predict_us(assignment, network) + MIDDLE_US * (SPLIT in assignment.values())
        return Drafted(latency_us=latency_us, speedup=FLOAT_US / latency_us)

    one = replace(contest(tmp_path, refuse, latency(MIDDLE_US), MIDDLE_US, joint=joint), preference=preference)
    found = replace(one, drafts=drafted).searched()
    assert found is not None
    assert SPLIT not in found.configuration.assignment.values()
    assert 0.7 * MIDDLE_US <= found.drafted.latency_us <= MIDDLE_US


def test_it_gives_up_where_nothing_is_measured_within_the_budget(tmp_path: Path) -> None:
    one = contest(tmp_path, lambda _: 1.1 * MIDDLE_US, latency(MIDDLE_US), MIDDLE_US)
    assert one.searched() is None
    assert 2 < one.drafts.count <= DRAFTS
    assert list(one.controls()) == []


@pytest.mark.parametrize("share", [0.5, 0.9999, 1.02])
def test_where_the_table_has_hardly_anything_the_fastest_is_tried(tmp_path: Path, share: float) -> None:
    """The device is faster than its table, and has the last word."""
    limit_us = share * FASTEST_US
    found = contest(tmp_path / "fast", lambda us: share * us, latency(limit_us), limit_us).searched()
    assert found is not None
    assert found.configuration.predicted_us == pytest.approx(FASTEST_US, rel=0.03)
    slow = contest(tmp_path / "slow", lambda us: us + FASTEST_US, latency(limit_us), limit_us)
    assert slow.searched() is None
    assert list(slow.controls()) == []


@pytest.mark.parametrize("room", [1.001, 1.01, 1.1, 1.5])
@pytest.mark.parametrize("fixed", [0.0, 0.2])
def test_a_device_slower_than_its_table_has_what_meets_the_budget(tmp_path: Path, fixed: float, room: float) -> None:
    """Networks take 1.3 times what is predicted, and perhaps a fixed time; the fastest is within the budget."""

    def measured(us: float) -> float:
        return 1.3 * us + fixed * FASTEST_US

    budget_us = room * measured(FASTEST_US)
    found = contest(tmp_path, measured, latency(budget_us), 0.97 * budget_us).searched()
    assert found is not None
    assert found.drafted.latency_us <= budget_us


def test_the_whole_network_is_tried_before_a_budget_is_refused(tmp_path: Path) -> None:
    """Narrow networks are not as fast as the table says; the one that the compilation began with is."""
    chosen = JOINT.table.space.everywhere("int8")
    whole_us = JOINT.predict_us(chosen, {})

    def measured(us: float) -> float:
        return us if us == pytest.approx(whole_us) else 9e9

    shrunk, _ = proposed(tmp_path, lambda *_: 50.0, measured=measured, post_training=chosen, budget_us=whole_us)
    assert [(entry.name, entry.chosen) for entry in shrunk.contest] == [(POST_TRAINING, True)]
    assert shrunk.precision.assignment == chosen
    assert shrunk.widths == JOINT.channels


def test_after_a_miss_in_the_end_other_networks_are_tried(tmp_path: Path) -> None:
    """What was drafted within the budget, and is above it once trained, is not proposed again."""
    one = contest(tmp_path, lambda us: us, latency(MIDDLE_US), MIDDLE_US)
    first = one.searched()
    assert first is not None
    second = one.missed_by(1.05, first.drafted).searched()
    assert second is not None
    assert second.drafted.latency_us <= first.drafted.latency_us / 1.05


def test_controls_meet_the_same_budget_with_candidates_of_the_same_space(tmp_path: Path) -> None:
    one = contest(tmp_path, lambda us: 1.1 * us, latency(MIDDLE_US), MIDDLE_US)
    found = list(one.controls())
    assert [control.name for control in found] == ["homogeneous", "precision alone", "random 1", "random 2"]
    for control in found:
        assert control.drafted.latency_us <= MIDDLE_US, control.name
        assert all(control.configuration.widths[group] in p for group, p in LIKINGS.widths.items())
    alone = found[1].configuration
    assert alone.widths == JOINT.channels


def test_a_control_that_cannot_meet_the_budget_does_not_take_part(tmp_path: Path) -> None:
    """Here all channels take too long whatever the precision."""
    fast_us = EVERY[len(EVERY) // 20].predicted_us
    names = [control.name for control in contest(tmp_path, lambda us: us, latency(fast_us), fast_us).controls()]
    assert "precision alone" not in names
    assert {"homogeneous", "random 1"} <= {*names}


def test_random_controls_differ_by_seed(tmp_path: Path) -> None:
    def drawn(seed: int) -> str:
        one = contest(tmp_path / str(seed), lambda us: us, latency(MIDDLE_US), MIDDLE_US, seed=seed)
        return str([c.configuration for c in one.controls() if c.name.startswith("random")])

    assert drawn(0) == drawn(0)
    assert len({drawn(seed) for seed in range(4)}) == 4


def test_what_was_measured_is_kept_for_the_same_contest_alone(tmp_path: Path) -> None:
    one = contest(tmp_path, lambda us: 1.2 * us, latency(MIDDLE_US), MIDDLE_US)
    first, again = one.searched(), replace(one, drafts=Drafts(refuse)).searched()
    assert first is not None
    assert first == again
    for other in ({"key": "other"}, {"budget": latency(1.1 * MIDDLE_US)}, {"limit_us": 1.1 * MIDDLE_US}):
        drafts = Drafts(lambda us: us)
        replace(one, drafts=drafts, **other).searched()
        assert drafts.count, other


def test_a_refusal_is_measured_again(tmp_path: Path) -> None:
    """The machine may have been busy."""
    missed = contest(tmp_path, lambda _: 2 * MIDDLE_US, latency(MIDDLE_US), MIDDLE_US)
    assert missed.searched() is None
    assert replace(missed, drafts=Drafts(lambda us: us)).searched() is not None


def proposed(
    folder: Path,
    metric: Metric,
    measured: Measure = lambda us: us,
    post_training: Any = None,
    budget_us: float = MIDDLE_US,
    **options: Any,
) -> tuple[Any, Realiser]:
    """Let the contest propose a network; see `Realiser` for the metric."""
    realiser = Realiser(metric)
    job = SimpleNamespace(
        config=SimpleNamespace(searching=SearchOptions(**options), seed=3, method="differentiable"),
        reporter=Reporter(), network=realiser.network, workload=SimpleNamespace(validation_data=[]),
    )  # fmt: skip
    task = SimpleNamespace(groups=width_groups(realiser.network), joint=JOINT)
    searched = SimpleNamespace(left_out=("fc: stays",), history=(), records=())
    one = contest(folder, measured, latency(budget_us), budget_us, realiser=realiser, post_training=post_training or {})
    return winner_of(job, task, searched, one), realiser


def test_the_best_by_the_mean_over_seeds_wins(tmp_path: Path) -> None:
    """Precision alone has the single best training; the homogeneous one is better in the mean."""

    def metric(name: str, seed: int) -> float:
        if name == "precision alone":
            return 99.0 if seed == 3 else 10.0
        return 80.0 + seed if name == "homogeneous" else 70.0

    shrunk, realiser = proposed(tmp_path, metric, controls=True, seeds=2, search_share=0.75)
    chosen = [entry for entry in shrunk.contest if entry.chosen]
    assert [entry.name for entry in chosen] == ["homogeneous"]
    assert chosen[0].metrics == (83.0, 84.0)
    assert [entry.name for entry in shrunk.contest][:2] == [SEARCHED, "homogeneous"]
    assert "fc: stays" in shrunk.notes
    assert {(share, seed) for _, share, seed in realiser.trainings} == {(0.25, 3), (0.25, 4)}
    assert len(realiser.trainings) == 2 * len(shrunk.contest)


def test_the_search_wins_a_draw_and_is_alone_without_controls(tmp_path: Path) -> None:
    drawn, _ = proposed(tmp_path / "a", lambda *_: 50.0, controls=True, seeds=1)
    assert [entry.name for entry in drawn.contest if entry.chosen] == [SEARCHED]
    unlabelled, realiser = proposed(tmp_path / "b", lambda *_: None)
    assert [(entry.name, entry.metrics, entry.chosen) for entry in unlabelled.contest] == [(SEARCHED, (), True)]
    assert [seed for _, _, seed in realiser.trainings] == [3]


def test_a_contest_without_contestants_is_refused_unless_the_whole_network_is_within(tmp_path: Path) -> None:
    shrunk, _ = proposed(tmp_path, lambda *_: None, measured=lambda _: 9e9)
    assert shrunk is None
    budget = latency(MIDDLE_US)
    job: Any = SimpleNamespace(config=SimpleNamespace(budget=budget), reporter=Reporter())
    missed, met = (SimpleNamespace(met=one) for one in (False, True))
    with pytest.raises(InputError, match=r"No configuration of the space was measured within .* ms; allow more"):
        _nothing(job, budget, missed)
    _nothing(job, budget, met)
    _nothing(job, latency(2 * MIDDLE_US), missed)  # a point of a front


def test_the_draft_of_a_proposal_is_that_of_its_winner(tmp_path: Path) -> None:
    shrunk, _ = proposed(tmp_path, lambda name, _: 1.0 if name == "homogeneous" else 0.0, controls=True, seeds=1)
    (chosen,) = (entry for entry in shrunk.contest if entry.chosen)
    assert draft_of(shrunk) == Drafted(latency_us=chosen.latency_us, speedup=chosen.speedup)


def contestant(name: str, speedup: float, *metrics: float) -> Contestant:
    realised: Any = tuple(SimpleNamespace(metric=metric) for metric in metrics)
    return Contestant(
        name=name,
        configuration=Configuration(assignment={}, widths={}, predicted_us=1e3),
        drafted=Drafted(latency_us=3750.0 / speedup, speedup=speedup),
        realised=realised,
    )


def test_a_lead_by_chance_is_worth_less_than_speed() -> None:
    """The best mean is taken, unless another one is as good within the best one's spread and clearly faster."""
    best = contestant("random 1", 1.5, 71.0, 73.0, 72.0)
    as_good, worse = contestant("homogeneous", 1.9, 71.2, 71.1, 71.3), contestant(SEARCHED, 2.5, 70.8, 70.9, 70.9)
    assert winner([worse, as_good, best]) is as_good
    assert winner([worse, best]) is best
    hardly = contestant("homogeneous", 1.55, 71.9, 71.9, 71.9)
    assert winner([hardly, best]) is best
    faster_still = contestant(SEARCHED, 2.0, 71.5, 71.5, 71.5)
    assert winner([best, as_good, faster_still]) is faster_still
    assert winner([contestant("random 1", 1.5, 72.0), contestant(SEARCHED, 1.9, 71.9)]).name == "random 1"
    assert winner([contestant("random 1", 1.5, 72.0), contestant(SEARCHED, 1.5, 72.0)]).name == SEARCHED
    assert winner([contestant("random 1", 1.5), contestant(SEARCHED, 1.5)]).name == SEARCHED


def test_a_contestant_tells_how_it_did() -> None:
    found = contestant("random 1", 1.5, 70.0, 74.0, 72.0)
    assert str(found) == "random 1: 2.5 ms, 1.50x, metric on validation samples 72.00 +- 2.00"
    assert found.best.metric == 74
    assert found.entry(chosen=True).metrics == (70.0, 74.0, 72.0)
    assert str(replace(found, realised=())) == "random 1: 2.5 ms, 1.50x"
