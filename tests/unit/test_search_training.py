"""A search ends at its budget, is decided by its seed, and goes on bit for bit where it was interrupted."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_search import Found, search, setting

from hwcomp.latency_terms.lagrangian import Lagrangian
from hwcomp.plugins import load, names
from hwcomp.scheme import FLOAT
from hwcomp.search_options import Level
from hwcomp.supernet import PrecisionSite, sites_of

ESTIMATORS = names("hwcomp.estimators")


def has_defaults(term: str) -> bool:
    fields = dataclasses.fields(load("hwcomp.latency_terms", term, "TERM"))
    return all(field.default is not dataclasses.MISSING for field in fields)


TERMS = [term for term in names("hwcomp.latency_terms") if has_defaults(term)]


def assert_same(one: Found, other: Found) -> None:
    first, second = one.model.state_dict(), other.model.state_dict()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert [name for name in one.logits if not torch.equal(one.logits[name], other.logits[name])] == []
    assert torch.equal(one.multiplier, other.multiplier)
    assert one.records == other.records
    rows = [[(row.epoch, row.loss, row.rate) for row in found.trained.history] for found in (one, other)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("level", ["bilevel", "single"])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_the_expected_latency_ends_at_the_budget(share: float, level: Level) -> None:
    found = search(share=share, epochs=30, level=level)
    assert found.expected_us == pytest.approx(found.budget_us, rel=0.05)
    assert [record.epoch for record in found.records] == list(range(1, 31))
    assert found.records[-1].expected_us == pytest.approx(found.expected_us, rel=1e-5)
    assert found.records[-1].multiplier == pytest.approx(float(found.multiplier))
    assert found.records[-1].loss < 0.9 * found.records[0].loss
    assert 0 < found.records[-1].entropy < found.records[0].entropy <= 1 + 1e-6


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_forty_steps_are_enough_to_end_at_the_budget(share: float, rate: float) -> None:
    """From the middle of the space, where the expected latency is up to twice the budget, or half of it."""
    found = search(share=share, rate=rate, epochs=13, warmup=0.0)
    assert found.records[-1].epoch == 13
    assert found.expected_us == pytest.approx(found.budget_us, rel=0.05)


def test_a_tighter_budget_chooses_less() -> None:
    """Fewer channels and less float are likely."""

    def sizes(found: Found) -> tuple[float, float]:
        width, in_float = 0.0, 0.0
        for name, site in sites_of(found.model).items():
            p = found.logits[name].softmax(0)
            if isinstance(site, PrecisionSite):
                in_float += float(p[site.candidates.index(FLOAT)])
            else:
                width += sum(float(one) * few for one, few in zip(p, site.widths, strict=True))
        return width, in_float

    tight, wide = sizes(search(share=0.25, epochs=8)), sizes(search(share=0.8, epochs=8))
    assert tight[0] < 0.9 * wide[0]
    assert tight[1] < 0.9 * wide[1]


def test_the_seed_decides() -> None:
    one, same, other = (search(epochs=3, estimator="gumbel", seed=seed) for seed in (1, 1, 2))
    assert_same(one, same)
    assert any(not torch.equal(one.logits[name], other.logits[name]) for name in one.logits)


CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "in the warm-up": (3, {"warmup": 0.3}),
    "at the end of an epoch": (6, {}),
    "within an epoch": (8, {}),
    "gumbel": (7, {"estimator": "gumbel"}),
    "binary gates": (7, {"estimator": "binary_gates"}),
    "second order": (5, {"order": 2}),
    "single level": (8, {"level": "single"}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_search_goes_on_bit_for_bit(tmp_path: Path, case: str) -> None:
    stop, options = CASES[case]
    path = tmp_path / "checkpoint"
    for again in (stop, stop + 2):
        with pytest.raises(KeyboardInterrupt):
            search(path, stop=again, epochs=4, **options)
    assert_same(search(path, epochs=4, **options), search(epochs=4, **options))


def test_a_search_that_is_done_gives_its_result_again(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    assert_same(search(path, epochs=2), search(path, epochs=2))


HOW: list[dict[str, Any]] = [{}, {"order": 2}, {"level": "single"}]


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_searches(name: str, how: dict[str, Any]) -> None:
    found = search(estimator=name, epochs=2, warmup=0.0, **how)
    assert [site for site, logits in found.logits.items() if not torch.isfinite(logits).all() or not logits.any()] == []
    assert found.expected_us > 0
    assert len(found.records) == 2


@pytest.mark.parametrize("name", TERMS)
def test_every_latency_term_pulls_towards_faster_networks(name: str) -> None:
    """A budget that is far away, and a term that has no weight but its own."""
    found = search(term=name, share=0.1, epochs=4, warmup=0.0)
    start_us = search(term=name, share=0.1, epochs=1, warmup=0.99).expected_us
    assert found.expected_us < start_us


def test_choices_wait_while_the_weights_warm_up() -> None:
    found = search(epochs=2, warmup=0.99)
    assert all(not logits.any() for logits in found.logits.values()), "equal likelihoods, bit for bit"
    assert float(found.multiplier) == 0
    assert [record.entropy for record in found.records] == [pytest.approx(1.0)] * 2
    source = setting().supernet().program.module.state_dict()
    trained = found.model.state_dict()
    assert any(not torch.equal(source[name], trained[name]) for name in source)


def test_after_a_failure_the_choices_go_back_and_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is infinite in step 80, after the weights of step 51 were kept as good ones."""
    shares, update = list[float](), Lagrangian.update

    def told(self: Lagrangian, ratio: float, share: float) -> None:
        shares.append(share)
        update(self, ratio, share)

    monkeypatch.setattr(Lagrangian, "update", told)
    found = search(epochs=30, poison=80)
    assert any("Training diverged" in note for note in found.trained.notes)
    assert all(bool(torch.isfinite(logits).all()) for logits in found.logits.values())
    assert [record.epoch for record in found.records] == list(range(1, 31))
    assert max(shares) == pytest.approx(1 / 90), "the multiplier does not jump"
    assert found.expected_us == pytest.approx(found.budget_us, rel=0.15)
