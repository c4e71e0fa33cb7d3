"""Channels lie last while a network is trained in bfloat16, and as usual when it is given back."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hwcomp.train import Hooks, TrainConfig, TrainData, Trained, TrainState, task_objective, train

EXAMPLE = (torch.zeros(1, 3, 6, 6),)


class Net(nn.Module):
    """Convolutions, and what follows them."""

    def __init__(self, *, views: bool) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1), nn.Linear(4 * 36, 2)
        self.views = views

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.b(torch.relu(self.a(x))))
        return self.fc(x.view(x.size(0), -1) if self.views else x.flatten(1))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    labels = [torch.randint(0, 2, (16,), generator=generator) for _ in range(6)]
    return [(torch.randn(16, 3, 6, 6, generator=generator) + y.view(-1, 1, 1, 1), y) for y in labels]


def trained(model: nn.Module, loss: Any = F.cross_entropy, **options: Any) -> tuple[Trained, list[bool]]:
    """Return what came of a training, and whether channels lay last after each step."""
    config = TrainConfig(**({"epochs": 4, "precision": "bf16"} | options))
    seen = []

    def after_step(state: TrainState) -> None:
        first = next(x for x in state.models[-1].parameters() if x.ndim == 4)
        seen.append(first.is_contiguous(memory_format=torch.channels_last) and not first.is_contiguous())

    done = train(
        model,
        TrainData(batches=batches(), example_inputs=EXAMPLE),
        config,
        objective=task_objective(loss, None, config),
        hooks=Hooks(after_step=after_step),
    )
    return done, seen


@pytest.mark.parametrize("options", [{}, {"ema": 0.5}], ids=["plain", "average"])
def test_channels_lie_last_while_it_is_trained_and_as_usual_afterwards(options: dict[str, Any]) -> None:
    model = Net(views=False)
    done, seen = trained(model, **options)
    assert seen == [True] * 24
    for weight in (done.model.a.weight, done.model.b.weight, model.a.weight):
        assert weight.stride() == torch.empty(weight.shape).stride()
    assert done.history[-1].loss < done.history[0].loss


def test_in_full_precision_nothing_is_moved() -> None:
    assert trained(Net(views=False), precision="no")[1] == [False] * 24


def test_a_network_that_views_what_a_convolution_gives_is_left_as_it_is() -> None:
    done, seen = trained(Net(views=True))
    assert seen == [False] * 24
    assert done.history[-1].loss < done.history[0].loss


def test_a_loss_may_view_images() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.view(len(targets), -1).mean(1) - targets).square().mean()

    done, seen = trained(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 1)), loss)
    assert seen == [True] * 24
    assert done.history[-1].loss < done.history[0].loss
