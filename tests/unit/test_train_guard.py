"""Training that diverges goes back once, at a lower rate, and stops with a sentence the second time."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.train import Hooks, TrainConfig, TrainData, TrainState, train

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])
DATA = TrainData(batches=[(X[i : i + 8], Y[i : i + 8]) for i in range(0, 64, 8)], example_inputs=(X[:1],))


def squared(model: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
    return F.mse_loss(model(*inputs), targets)


def run(objective: Any = squared, **options: Any) -> Any:
    hooks = options.pop("hooks", Hooks())
    config = TrainConfig(**({"epochs": 20, "rate": 0.05, "schedule": "constant", "weight_decay": 0.0} | options))
    torch.manual_seed(1)
    return train(nn.Linear(3, 1), DATA, config, objective=objective, hooks=hooks)


def test_a_rate_that_is_too_high_is_lowered_once() -> None:
    trained = run(rate=2.0)
    (note,) = trained.notes
    assert note.startswith("Training diverged: the loss or the weights became infinite or NaN at step ")
    assert note.endswith("It goes on from the weights of step 0, at 0.1 times the rate.")
    assert trained.history[-1].rate == pytest.approx(0.2)
    assert trained.history[-1].loss < 1e-3


def test_a_rate_that_is_far_too_high_ends_with_a_sentence() -> None:
    with pytest.raises(
        InputError, match=r"diverged again, though .* was lowered once: .* at step \d+ \(epoch \d+,"
    ) as e:
        run(rate=1e6)
    assert "learning rate 1e+05" in str(e.value)
    assert "try a lower rate, a warm-up or gradient clipping" in str(e.value)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_one_bad_step_costs_only_the_steps_since_the_last_good_weights(where: str) -> None:
    steps: list[int] = []

    def once_bad(model: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        loss = squared(model, inputs, targets)
        steps.append(1)
        if len(steps) != 100:
            return loss
        return loss * float("inf") if where == "loss" else loss + torch.sqrt(0 * model.weight.sum())

    trained = run(once_bad)
    (note,) = trained.notes
    assert "at step 100 (epoch 13, learning rate 0.05)" in note or "at step 101 (epoch 13" in note
    assert "from the weights of step 56, at 0.1 times" in note
    assert trained.history[-1].rate == pytest.approx(0.005)
    assert trained.history[-1].loss < 0.05
    assert trained.steps == 160


def test_weights_that_a_hook_breaks_are_noticed() -> None:
    def after_step(state: TrainState) -> None:
        if state.step == 160:
            state.model.bias.data.fill_(float("nan"))

    trained = run(hooks=Hooks(after_step=after_step))
    assert "at step 160 (epoch 20" in trained.notes[0]
    assert torch.isfinite(trained.model.bias).all()


def test_steps_that_fp16_leaves_out_are_no_failures() -> None:
    """The scaler begins at 65536, which is far too much for a loss of thousands: it finds its way by itself."""

    def large(model: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        return 1000 * squared(model, inputs, targets)

    trained = run(large, rate=2e-5, precision="fp16", epochs=30)
    assert trained.notes == ()
    assert trained.history[-1].loss < 0.3 * trained.history[0].loss


def test_buffers_that_were_infinite_from_the_start_are_no_failure() -> None:
    class Masked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 1)
            self.register_buffer("mask", torch.full((3,), float("-inf")))

    trained = train(Masked(), DATA, TrainConfig(epochs=2), objective=squared)
    assert trained.notes == ()
