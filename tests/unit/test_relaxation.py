"""One step of a search: each batch of a pair teaches its own, and latency is part of what the choices learn."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny_search import samples, setting
from torch import Tensor, nn

from hwcomp.console import Reporter
from hwcomp.estimators import load_estimator
from hwcomp.latency_terms import load_latency_term
from hwcomp.search.architect import Architect, supernet_optimiser
from hwcomp.search.relaxation import Clock, Relaxation, expected_us, probabilities
from hwcomp.supernet import PrecisionSite, logits_of, sites_of, weight_parameters
from hwcomp.train import TrainConfig, TrainState

X, Y = samples()
TRAIN, HELD, OTHER = ((X[start : start + 8], Y[start : start + 8]) for start in (0, 8, 16))


def cross_entropy(model: nn.Module, inputs: Any, targets: Any) -> Tensor:
    return F.cross_entropy(model(*inputs), targets)


def no_task(model: nn.Module, inputs: Any, targets: Any) -> Tensor:
    return 0 * cross_entropy(model, inputs, targets)


def relaxation(**others: Any) -> Relaxation:
    where = setting(norms=False)
    parts: dict[str, Any] = {
        "task": cross_entropy, "estimator": load_estimator("weight_mixture"), "budget_us": 0.2 * where.float_us,
        "term": load_latency_term("lagrangian", multiplier=0.3), "joint": where.joint, "warmup": 0.0, "order": 1,
        "weight_decay": 0.0, "seed": 0, "clock": Clock(rate=0.1), **others,
    }  # fmt: skip
    return Relaxation(**parts)


@pytest.fixture
def model() -> nn.Module:
    """Before its last step, with logits that differ."""
    module = setting(norms=False).supernet().program.module.train()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for logits in logits_of(module).values():
            logits.copy_(0.5 * torch.randn(logits.shape, generator=generator))
    return module


def gradients(model: nn.Module, one: Relaxation, train: Any, held: Any) -> tuple[Tensor, Tensor, float]:
    """Those of the weights, those of the logits, and the value."""
    return backward(model, lambda: one(model, (train[0], held[0]), (train[1], held[1])))


def single(model: nn.Module, one: Relaxation, batch: Any) -> tuple[Tensor, Tensor, float]:
    """The same from one batch, on one level."""
    return backward(model, lambda: replace(one, level="single")(model, (batch[0],), batch[1]))


def backward(model: nn.Module, step: Callable[[], Tensor]) -> tuple[Tensor, Tensor, float]:
    model.zero_grad()
    value = step()
    value.backward()
    weights = [torch.zeros_like(w) if w.grad is None else w.grad for w in weight_parameters(model)]
    logits = [torch.zeros_like(x) if x.grad is None else x.grad for x in logits_of(model).values()]
    return torch.cat([g.flatten().clone() for g in weights]), torch.cat([g.clone() for g in logits]), value.item()


@pytest.mark.parametrize("name", ["weight_mixture", "softmax_mixture", "gumbel", "binary_gates"])
def test_each_batch_teaches_its_own(model: nn.Module, name: str) -> None:
    one = relaxation(estimator=load_estimator(name))
    weights, logits, value = gradients(model, one, TRAIN, HELD)
    assert bool(weights.any())
    assert bool(logits.any())
    by_held = gradients(model, one, TRAIN, OTHER)
    assert torch.equal(by_held[0], weights), "the second batch does not teach the weights"
    assert by_held[2] == value
    assert not torch.equal(by_held[1], logits)
    by_train = gradients(model, one, OTHER, HELD)
    assert torch.equal(by_train[1], logits), "the first batch does not teach the choices"
    assert not torch.equal(by_train[0], weights)


@pytest.mark.parametrize("term", ["lagrangian", "log_ratio", "ratio_penalty"])
@pytest.mark.parametrize("name", ["weight_mixture", "softmax_mixture"])
def test_single_level_is_two_levels_on_one_batch(model: nn.Module, name: str, term: str) -> None:
    """Without draws, one backward pass gives what two do, also where the term scales the task's gradient."""
    one = relaxation(estimator=load_estimator(name), term=load_latency_term(term))
    found, expected = single(model, one, TRAIN), gradients(model, one, TRAIN, TRAIN)
    for part in (0, 1):
        assert bool(expected[part].any())
        torch.testing.assert_close(found[part], expected[part], rtol=1e-4, atol=1e-6)
    assert found[2] == pytest.approx(expected[2])


def test_single_level_takes_one_pass_where_it_can(model: nn.Module) -> None:
    """Estimators without a derivative compare networks apart, on the same batch."""
    for name, passes in (("weight_mixture", 1), ("gumbel", 1), ("binary_gates", 2)):
        calls = []

        def counted(*parts: Any, calls: list[int] = calls) -> Tensor:
            calls.append(1)
            return cross_entropy(*parts)

        weights, logits, _ = single(model, relaxation(estimator=load_estimator(name), task=counted), TRAIN)
        assert len(calls) >= passes
        assert passes > 1 or len(calls) == 1, name
        assert bool(weights.any())
        assert bool(logits.any())
    waiting = relaxation(warmup=0.5, clock=Clock(progress=0.4))
    assert not bool(single(model, waiting, TRAIN)[1].any())


def test_to_second_order_the_first_batch_teaches_the_choices_too(model: nn.Module) -> None:
    one = relaxation(order=2)
    _, logits, _ = gradients(model, one, TRAIN, HELD)
    assert not torch.equal(gradients(model, one, OTHER, HELD)[1], logits)
    still = relaxation(order=2, clock=Clock(rate=0.0))
    _, first_order, _ = gradients(model, relaxation(), TRAIN, HELD)
    torch.testing.assert_close(gradients(model, still, TRAIN, HELD)[1], first_order, rtol=1e-4, atol=1e-6)


def test_without_a_task_the_choices_learn_the_latency(model: nn.Module) -> None:
    """As the term's formula has it."""
    one = relaxation(task=no_task)
    _, found, _ = gradients(model, one, TRAIN, HELD)
    leaves = {name: x.detach().clone().requires_grad_() for name, x in logits_of(model).items()}
    excess = expected_us(one.joint, model, {name: x.softmax(0) for name, x in leaves.items()}) / one.budget_us - 1
    expected = torch.autograd.grad(((0.3 + excess).clamp_min(0) ** 2 - 0.09) / 2, list(leaves.values()))
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-6)


def test_before_it_begins_only_weights_learn(model: nn.Module) -> None:
    one = relaxation(warmup=0.5, clock=Clock(progress=0.49))
    weights, logits, _ = gradients(model, one, TRAIN, HELD)
    assert bool(weights.any())
    assert not bool(logits.any())
    one.clock.progress = 0.5
    assert bool(gradients(model, one, TRAIN, HELD)[1].any())


def test_draws_are_decided_by_seed_and_step(model: nn.Module) -> None:
    def value(seed: int, step: int) -> float:
        one = relaxation(estimator=load_estimator("gumbel"), seed=seed, clock=Clock(step=step))
        return gradients(model, one, TRAIN, HELD)[2]

    assert value(0, 0) == value(0, 0)
    assert len({value(seed, step) for seed in range(3) for step in range(3)}) > 5
    assert len({value(0, step) for step in range(5)}) > 2
    assert len({value(seed, 0) for seed in range(5)}) > 2


def test_the_expectation_is_that_of_the_joint_table(model: nn.Module) -> None:
    """With one candidate each, the latency of that configuration."""
    where, chosen, widths, p = setting(norms=False), {}, {}, {}
    for name, site in sites_of(model).items():
        count = site.logits.numel()
        p[name] = torch.eye(count)[count - 1]
        if isinstance(site, PrecisionSite):
            chosen[name] = site.candidates[-1]
        else:
            p[name], widths[site.group] = torch.eye(count)[0], site.widths[0]
    predicted_us = where.joint.predict_us(chosen, widths)
    assert float(expected_us(where.joint, model, p)) == pytest.approx(predicted_us, rel=1e-5)


def test_weights_and_choices_have_optimisers_of_their_own(model: nn.Module) -> None:
    """The loop's moves no logit, and the architect's no weight; norms, biases and steps do not decay."""
    config = TrainConfig(epochs=1, rate=0.1, weight_decay=0.01)
    made = supernet_optimiser(config)(model)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in made.param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    assert {rates[id(p)] for p in weight_parameters(model) if p.ndim > 1} == {(0.1, 0.01)}
    assert {rates[id(p)] for p in weight_parameters(model) if p.ndim <= 1} == {(0.1, 0.0)}
    assert {rates[id(p)] for p in logits_of(model).values()} == {(0.0, 0.0)}
    before = {name: x.detach().clone() for name, x in logits_of(model).items()}
    one = relaxation()
    gradients(model, one, TRAIN, HELD)
    made.step()
    assert all(torch.equal(before[name], x) for name, x in logits_of(model).items())
    weights = [w.detach().clone() for w in weight_parameters(model)]
    Architect(one, 0.05, Reporter()).hooks.after_step(state(model, step=1))
    assert all(torch.equal(w, kept) for w, kept in zip(weight_parameters(model), weights, strict=True))
    moved = torch.cat([(before[name] - x.detach()).abs() for name, x in logits_of(model).items()])
    assert float(moved.max()) == pytest.approx(0.05, rel=1e-3), "the first step of Adam is its rate"


def state(model: nn.Module, *, step: int) -> TrainState:
    return TrainState(
        model=model, average=None, step=step, epoch=0, epochs=1, progress=step / 10, rate=0.1, loss=torch.tensor(1.0)
    )


def test_what_was_restored_can_be_saved_at_once(model: nn.Module) -> None:
    """Before the next step is made."""
    one = relaxation()
    architect = Architect(one, 0.05, Reporter())
    gradients(model, one, TRAIN, HELD)
    architect.hooks.after_step(state(model, step=1))
    architect.hooks.after_epoch(state(model, step=1))
    saved = {name: x.clone() for name, x in architect.hooks.save().items()}
    assert any(name.startswith("adam.") for name in saved)
    other = Architect(relaxation(), 0.05, Reporter())
    other.hooks.restore(saved)
    again = other.hooks.save()
    assert again.keys() == saved.keys()
    assert all(torch.equal(again[name], x) for name, x in saved.items())
    assert other.records == architect.records
    assert probabilities(model).keys() == logits_of(model).keys()


def test_the_multiplier_follows_the_expected_latency(model: nn.Module) -> None:
    """Above the budget it rises, below it falls, by the share of the search that a step was."""
    for share, sign in ((0.2, 1), (5.0, -1)):
        one = relaxation(budget_us=share * setting(norms=False).float_us)
        gradients(model, one, TRAIN, HELD)
        Architect(one, 1e-9, Reporter()).hooks.after_step(state(model, step=1))
        ratio = float(expected_us(one.joint, model, probabilities(model))) / one.budget_us
        expected = max(0.0, 0.3 + 50 * 0.1 * (ratio - 1))
        assert float(one.term.state()) == pytest.approx(expected, rel=1e-5)
        assert sign * (expected - 0.3) > 0
        assert one.clock == replace(one.clock, progress=0.1, step=1, rate=0.1)
