"""A training that was interrupted anywhere gives, bit for bit, what it would have given in one piece."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import safe_open
from torch import Tensor, nn

from hwcomp.train import Hooks, TrainConfig, TrainData, Trained, TrainState, Validation, task_objective, train
from hwcomp.workload import top1

GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(70, 1, 6, 6, generator=GENERATOR)
Y = (X.flatten(1) @ torch.randn(36, 3, generator=GENERATOR)).argmax(1)


class KilledError(Exception): ...


def augmented() -> Iterator[tuple[Tensor, Tensor]]:
    for index in torch.randperm(70).split(10):
        yield X[index] + 0.1 * torch.randn(len(index), 1, 6, 6) + 0.1 * np.random.rand(), Y[index]  # noqa: NPY002


def make_net() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, 3)
    )


def run(
    path: Path | None = None,
    *,
    stop: int = 0,
    data: Any = augmented,
    steps: int | None = None,
    name: str = "train_data",
    key: str = "k",
    bias: float = 0.0,
    **options: Any,
) -> Trained:
    config = TrainConfig(**({"epochs": 3, "checkpoint_s": 0} | options))
    total = torch.zeros(1)

    def after_step(state: TrainState) -> None:
        total.add_(state.loss)
        if state.step == stop:
            raise KilledError

    def restore(tensors: Any) -> None:
        total.copy_(tensors["total"])

    def after_epoch(state: TrainState) -> None:
        for model in state.models:
            model[0].weight.data[0] = total + torch.rand(1)
            if state.epoch == 3:  # so that the last is not the best
                model[5].weight.data.neg_()

    model = make_net()
    model[5].bias.data += bias
    hooks = Hooks(after_step=after_step, after_epoch=after_epoch, save=lambda: {"total": total}, restore=restore)
    return train(
        model,
        TrainData(batches=data, example_inputs=(X[:1],), steps=steps, name=name),
        config,
        objective=task_objective(F.cross_entropy, make_net() if "temperature" in options else None, config),
        hooks=hooks,
        validation=Validation(batches=[((X,), Y)], metric=top1),
        checkpoint=path,
        key=key,
    )


def assert_same(a: Trained, b: Trained) -> None:
    first, second = a.model.state_dict(), b.model.state_dict()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    rows = [[(r.epoch, r.loss, r.metric, r.rate) for r in t.history] for t in (a, b)]
    assert rows[0] == rows[1]
    assert (a.steps, a.epochs, a.notes) == (b.steps, b.epochs, b.notes)


@pytest.mark.parametrize("stop", [1, 5, 7, 8, 14, 20])
def test_killed_at_any_step(tmp_path: Path, stop: int) -> None:
    path = tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        run(path, stop=stop)
    assert path.exists() == (stop > 1)
    assert_same(run(path), run())


OPTIONS: dict[str, dict[str, Any]] = {
    "adamw": {"optimiser": "adamw", "rate": 0.01},
    "ema": {"ema": 0.9},
    "best": {"keep": "best", "rate": 0.2},
    "one_cycle and clip": {"schedule": "one_cycle", "clip": 0.5},
    "fp16": {"precision": "fp16"},
    "bf16": {"precision": "bf16"},
    "teacher": {"temperature": 3.0},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_killed_with_options(tmp_path: Path, case: str) -> None:
    path = tmp_path / "checkpoint"
    for stop in (4, 11, 19):
        with pytest.raises(KilledError):
            run(path, stop=stop, **OPTIONS[case])
    assert_same(run(path, **OPTIONS[case]), run(**OPTIONS[case]))


def test_the_lower_rate_after_a_failure_is_kept(tmp_path: Path) -> None:
    passes: list[int] = []

    def poisoned() -> Iterator[tuple[Tensor, Tensor]]:
        passes.append(1)
        for number, (x, y) in enumerate(augmented()):
            yield (x * float("nan") if number == 2 and len(passes) == 1 else x), y

    whole = run(tmp_path / "whole", data=poisoned, steps=7)
    passes.clear()
    with pytest.raises(KilledError):
        run(tmp_path / "checkpoint", stop=12, data=poisoned, steps=7)
    resumed = run(tmp_path / "checkpoint", data=poisoned, steps=7)
    assert "Training diverged" in resumed.notes[0]
    assert resumed.history[1].rate == pytest.approx(0.1 * run().history[1].rate)
    assert_same(resumed, whole)


def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    first = run(path)
    assert_same(run(path, stop=1), first)


def test_ctrl_c_saves_after_the_step(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"

    def pressing() -> Iterator[tuple[Tensor, Tensor]]:
        for number, batch in enumerate(augmented()):
            if number == 3 and not path.exists():
                signal.raise_signal(signal.SIGINT)
            yield batch

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(path, data=pressing, checkpoint_s=3600, steps=7)
    assert signal.getsignal(signal.SIGINT) is before
    with safe_open(path, framework="pt") as file:
        assert '"step": 4' in file.metadata()["hwcomp_training"]
    assert_same(run(path, data=pressing, checkpoint_s=3600, steps=7), run())


def test_a_second_ctrl_c_interrupts_at_once(tmp_path: Path) -> None:
    def pressing() -> Iterator[tuple[Tensor, Tensor]]:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError
        yield

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "checkpoint", data=pressing, steps=7, checkpoint_s=3600)
    assert not (tmp_path / "checkpoint").exists()


def test_data_that_is_not_the_same_again_is_told(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    generator = torch.Generator().manual_seed(0)

    def drifting() -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.randperm(70, generator=generator).split(10):
            yield X[index], Y[index]

    with pytest.raises(KilledError):
        run(path, stop=10, data=drifting)
    resumed = run(path, data=drifting)
    assert resumed.steps == 21
    assert resumed.notes[0] == (
        "train_data gives other batches than before the interruption (batch 1 of epoch 2); training goes on, but not "
        "exactly as a run in one piece would."
    )


def test_data_that_got_shorter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    batches = [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 70, 10)]
    with pytest.raises(KilledError):
        run(path, stop=6, data=batches)
    resumed = run(path, data=batches[:3])
    assert "\n".join(resumed.notes) == (
        "train_data gives fewer batches than before the interruption (batch 4 of epoch 1); training goes on, but not "
        "exactly as a run in one piece would."
    )


OTHERS: dict[str, dict[str, Any]] = {
    "method": {"key": "other"},
    "option": {"rate": 0.01},
    "model": {"bias": 1.0},
    "data": {"name": "other_data"},
}


@pytest.mark.parametrize("change", OTHERS)
def test_a_checkpoint_of_something_else_is_not_used(tmp_path: Path, change: str) -> None:
    path = tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        run(path, stop=10)
    found = run(path, **OTHERS[change])
    assert found.notes == (f"The checkpoint '{path}' is of another model, data or options; it is not used.",)
    assert_same(run(path, **OTHERS[change]), found)
    assert [r.loss for r in found.history] == [r.loss for r in run(**OTHERS[change]).history]


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_checkpoint_is_not_used(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        run(path, stop=10)
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-10], "empty": b"", "text": b"not a checkpoint at all"}[damage])
    found = run(path)
    assert found.notes == (f"The checkpoint '{path}' is damaged, or is none; it is not used.",)
    assert [r.loss for r in found.history] == [r.loss for r in run().history]


def test_a_full_disk_leaves_the_old_checkpoint_and_stops_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        run(path, stop=9)
    old = path.read_bytes()

    def full(**options: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hwcomp.stages.tempfile.mkstemp", full)
        finished = run(path)
    assert "\n".join(finished.notes) == (
        f"The checkpoint '{path}' cannot be written (No space left on device); training goes on, and an older "
        "checkpoint stays as it was."
    )
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]
    assert_same(run(path), run())
