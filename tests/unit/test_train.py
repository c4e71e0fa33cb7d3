"""The training loop: it learns, from data of any form, and leaves alone what it was given."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hwcomp.train import Hooks, TrainConfig, TrainData, TrainState, Validation, task_objective, train
from hwcomp.workload import top1

EXAMPLE = (torch.zeros(1, 1, 6, 6),)


def make_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4))


def labelled(count: int = 120) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 1, 6, 6, generator=generator)
    return x, (x.flatten(1) @ torch.randn(36, 4, generator=generator)).argmax(1)


def batches(size: int = 20) -> list[tuple[Tensor, Tensor]]:
    x, y = labelled()
    return list(zip(x.split(size), y.split(size), strict=True))


def run(data: Any = None, *, model: nn.Module | None = None, hooks: Hooks | None = None, **options: Any) -> Any:
    config = TrainConfig(**({"epochs": 2} | options))
    return train(
        model or make_net(),
        TrainData(batches=batches() if data is None else data, example_inputs=EXAMPLE),
        config,
        objective=task_objective(F.cross_entropy, None, config),
        hooks=hooks or Hooks(),
        validation=Validation(batches=[((labelled()[0],), labelled()[1])], metric=top1),
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimiser": "adamw", "rate": 0.01},
        {"schedule": "one_cycle", "rate": 0.1},
        {"schedule": "constant", "warmup": 0.2},
        {"ema": 0.8},
        {"clip": 0.5},
        {"precision": "bf16"},
        {"precision": "fp16"},
    ],
    ids=["plain", "adamw", "one_cycle", "warmup", "ema", "clip", "bf16", "fp16"],
)
def test_it_learns(options: dict[str, Any]) -> None:
    trained = run(epochs=12, **options)
    assert trained.history[-1].loss < 0.6 * trained.history[0].loss
    assert trained.history[-1].metric > 75
    assert (trained.epochs, trained.steps, trained.notes) == (12, 72, ())
    assert not trained.model.training


def test_neither_the_model_nor_the_random_state_is_changed() -> None:
    model = make_net()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    run(model=model)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert states[2] == random.getstate()


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    def shuffled() -> Iterator[tuple[Tensor, Tensor]]:
        x, y = labelled()
        for index in torch.randperm(len(x)).split(20):
            yield x[index] + 0.1 * torch.randn(len(index), 1, 6, 6), y[index]

    model = make_net()
    results = []
    for seed in (0, 0, 1):
        torch.rand(seed + 3)
        results.append(run(shuffled, model=model, seed=seed).model.state_dict())
    assert all(torch.equal(x, results[1][name]) for name, x in results[0].items())
    assert not torch.equal(results[0]["4.weight"], results[2]["4.weight"])


def _loader() -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*labelled()), batch_size=20)


FORMS: dict[str, Callable[[], Any]] = {
    "list": batches,
    "loader": _loader,
    "function of a list": lambda: batches,
    "function of a generator": lambda: lambda: iter(batches()),
    "lists": lambda: [[x, y] for x, y in batches()],
    "dicts": lambda: [{"image": x, "label": y} for x, y in batches()],
    "one tuple of inputs": lambda: [((x,), y) for x, y in batches()],
}


@pytest.mark.parametrize("form", FORMS)
def test_data_of_any_form_gives_the_same(form: str) -> None:
    model = make_net()
    expected = run(model=model)
    found = run(FORMS[form](), model=model)
    assert found.steps == 12
    assert [record.loss for record in found.history] == [record.loss for record in expected.history]


def test_one_pass_over_an_iterator_of_unknown_length() -> None:
    trained = run(iter(batches()), epochs=1)
    assert trained.steps == 6
    assert trained.history[0].rate == 0.05
    assert trained.notes == ("train_data does not tell how many batches it has, so the learning rate stays constant.",)


def test_endless_data_is_cut() -> None:
    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from batches()

    config = TrainConfig(epochs=2)
    data = TrainData(batches=endless, example_inputs=EXAMPLE, steps=4)
    trained = train(make_net(), data, config, objective=task_objective(F.cross_entropy, None, config))
    assert (trained.epochs, trained.steps) == (2, 8)


def test_dropout_draws_do_not_change_the_data() -> None:
    seen: list[list[Tensor]] = []

    def noisy() -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in batches():
            seen[-1].append(torch.rand(1) + np.random.rand() + random.random())  # noqa: NPY002
            yield x, y

    for model in (make_net(), nn.Sequential(nn.Dropout(0.5), make_net())):
        seen.append([])
        run(noisy, model=model, schedule="constant")
    assert seen[0] == seen[1]


def test_biases_and_norms_do_not_decay_unless_asked_to() -> None:
    model = make_net()
    plain = run(model=model, epochs=1, weight_decay=0.5).model.state_dict()
    without = run(model=model, epochs=1, weight_decay=0.0).model.state_dict()
    everything = run(model=model, epochs=1, weight_decay=0.5, decay_all=True).model.state_dict()
    assert plain["0.weight"].norm() < 0.99 * without["0.weight"].norm()
    assert plain["1.weight"].norm() > 1.01 * everything["1.weight"].norm()


def test_clipped_gradients_move_weights_no_further_than_the_rate_allows() -> None:
    model = make_net()
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    moved = []
    for clip in (None, 0.1):
        options: dict[str, Any] = {"epochs": 1, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
        after = run(batches()[:1], model=model, rate=1.0, clip=clip, **options).model
        moved.append(float((torch.nn.utils.parameters_to_vector(after.parameters()) - before).detach().norm()))
    assert moved[0] > 0.2
    assert moved[1] == pytest.approx(0.1, rel=1e-3)


def test_hooks_see_steps_and_change_weights_before_validation() -> None:
    steps: list[tuple[int, int, float]] = []
    epochs: list[tuple[int, int | None, float]] = []

    def after_step(state: TrainState) -> None:
        steps.append((state.step, state.epoch, state.progress))

    def after_epoch(state: TrainState) -> None:
        epochs.append((state.epoch, state.epochs, state.progress))
        for model in state.models:
            model[4].weight.data.zero_()
            model[4].bias.data.copy_(torch.tensor([1.0, 0, 0, 0]))

    trained = run(hooks=Hooks(after_step=after_step, after_epoch=after_epoch), ema=0.5)
    assert steps == [(i + 1, i // 6, (i + 1) / 12) for i in range(12)]
    assert epochs == [(1, 2, 0.5), (2, 2, 1.0)]
    share = 100 * float((labelled()[1] == 0).float().mean())
    assert [record.metric for record in trained.history] == pytest.approx([share, share])


def test_the_best_model_is_kept_where_that_is_asked_for() -> None:
    def after_epoch(state: TrainState) -> None:
        if state.epoch > 3:
            state.model[4].weight.data.zero_()

    x, y = labelled()
    hooks = Hooks(after_epoch=after_epoch)
    model = make_net()
    best = run(epochs=5, hooks=hooks, keep="best", model=model)
    last = run(epochs=5, hooks=hooks, model=model)
    metrics = [record.metric for record in best.history]
    assert top1(best.model(x), y) == pytest.approx(max(metrics))
    assert top1(last.model(x), y) == pytest.approx(metrics[-1])
    assert max(metrics) > metrics[-1] + 10


def test_own_optimiser_with_its_own_rates_follows_the_schedule() -> None:
    rates: list[tuple[float, float]] = []
    kept: list[torch.optim.Optimizer] = []

    def make(model: nn.Module) -> torch.optim.Optimizer:
        groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[4].parameters(), "lr": 0.2}]
        kept.append(torch.optim.SGD(groups))
        return kept[-1]

    def after_step(state: TrainState) -> None:
        rates.append(tuple(group["lr"] for group in kept[-1].param_groups))

    config = TrainConfig(epochs=1)
    data = TrainData(batches=batches(), example_inputs=EXAMPLE)
    objective = task_objective(F.cross_entropy, None, config)
    train(make_net(), data, config, objective=objective, hooks=Hooks(after_step=after_step), optimiser=make)
    assert all(b == pytest.approx(20 * a) for a, b in rates)
    assert 0.2 > rates[0][1] > rates[3][1] > rates[5][1] > 0


def test_an_objective_may_run_the_network_several_times() -> None:
    def twice(model: nn.Module, inputs: tuple[Tensor, ...], targets: Any) -> Tensor:
        x = inputs[0]
        return F.cross_entropy(model(x), targets) + F.cross_entropy(model(x.flip(3)), targets)

    data = TrainData(batches=batches(), example_inputs=EXAMPLE)
    trained = train(make_net(), data, TrainConfig(epochs=4), objective=twice)
    assert trained.history[-1].loss < trained.history[0].loss
