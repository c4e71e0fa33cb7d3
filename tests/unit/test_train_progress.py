"""What a person sees of a training, and Ctrl-C while a network is validated."""

import io
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from rich.console import Console
from torch import Tensor, nn

from hwcomp.console import Reporter
from hwcomp.train import TrainConfig, TrainData, Trained, Validation, task_objective, train
from hwcomp.workload import top1

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def run(metric: Any = top1, **parts: Any) -> Trained:
    config = TrainConfig(epochs=3)
    data = TrainData(batches=[(X[:20], Y[:20]), (X[20:], Y[20:])], example_inputs=(X[:1],))
    validation = Validation(batches=[((X,), Y)], metric=metric)
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    objective = task_objective(F.cross_entropy, None, config)
    return train(model, data, config, objective=objective, validation=validation, **parts)


def test_the_bar_shows_epoch_loss_and_metric_and_vanishes() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120, color_system=None)
    stage = Reporter(console).stage("Recover")
    trained = run(stage=stage)
    stage.done("done")
    first = trained.history[0]
    assert "Recover   epoch 1/3 " in shown.getvalue()
    assert f"epoch 2/3, loss {first.loss:.4g}, metric {first.metric:.4g}" in shown.getvalue()
    assert shown.getvalue().rstrip().endswith("Recover   done")


def test_sentences_are_printed_and_returned(tmp_path: Path) -> None:
    shown = io.StringIO()
    path = tmp_path / "checkpoint"
    path.write_text("damaged")
    trained = run(stage=Reporter(Console(file=shown, width=500)).stage("Recover"), checkpoint=path)
    assert len(trained.notes) == 1
    assert trained.notes[0] in shown.getvalue()


@pytest.mark.parametrize("epoch", [1, 3])
def test_ctrl_c_while_validating_keeps_the_epoch(tmp_path: Path, epoch: int) -> None:
    calls: list[int] = []

    def pressing(outputs: Tensor, targets: Tensor) -> float:
        calls.append(1)
        if len(calls) == epoch:
            signal.raise_signal(signal.SIGINT)
        return top1(outputs, targets)

    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(pressing, checkpoint=path)
    assert len(calls) == epoch
    found, expected = run(pressing, checkpoint=path), run()
    assert len(calls) == 3
    assert torch.equal(found.model.weight, expected.model.weight)
    assert [r.metric for r in found.history] == [r.metric for r in expected.history]
