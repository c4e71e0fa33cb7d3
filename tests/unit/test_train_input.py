"""Every way in which data, loss, metric and options can be wrong gives one sentence."""

from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.train import TrainConfig, TrainData, Validation, task_objective, train
from hwcomp.train.feed import Batch
from hwcomp.train.processes import Processes
from hwcomp.workload import top1

GOOD = [(torch.randn(4, 3), torch.tensor([0, 1, 2, 1])) for _ in range(3)]


def run(
    data: Any = GOOD, *, loss: Any = F.cross_entropy, metric: Any = top1, teacher: Any = None, **options: Any
) -> Any:
    config = TrainConfig(**({"epochs": 2} | options))
    return train(
        nn.Linear(3, 3),
        TrainData(batches=data, example_inputs=(torch.zeros(1, 3),)),
        config,
        objective=task_objective(loss, teacher, config),
        validation=None if metric is None else Validation(batches=[((x,), y) for x, y in GOOD], metric=metric),
    )


def failing() -> Any:
    yield GOOD[0]
    raise OSError("disk gone")


def changed(x: Any = None, y: Any = None) -> list[Any]:
    return [(GOOD[0][0] if x is None else x, GOOD[0][1] if y is None else y)]


BAD_DATA: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (list, "train_data yields nothing; give at least one batch"),
    "None": (lambda: lambda: None, "train_data gives NoneType; give an iterable of batches"),
    "a number": (lambda: 5, "train_data is a int; give an iterable of batches"),
    "an iterator twice": (lambda: iter(GOOD), "an iterator, which can be read only once; make it a function"),
    "the same iterator again": (
        lambda: partial(next, repeat(iter(GOOD))),
        "yields nothing in epoch 2; make it a function that gives a new iterable each time",
    ),
    "it fails": (lambda: failing, "train_data failed while it was read: OSError: disk gone"),
    "wrong shape": (lambda: changed(x=torch.randn(4, 5)), r"inputs of shape \[\(5,\)\] .* the model takes \[\(3,\)\]"),
    "wrong type": (lambda: changed(x=torch.ones(4, 3, dtype=torch.int64)), "inputs of type int64; give them as"),
    "numpy": (lambda: [(torch.randn(4, 3).numpy(), GOOD[0][1])], r"inputs of type none \(a tuple\)"),
    "fewer targets": (lambda: changed(y=torch.tensor([0, 1])), "loss failed on a batch: ValueError: Expected input"),
    "empty batch": (lambda: changed(x=torch.randn(0, 3), y=torch.tensor([])), r"has \[0\] samples in its inputs"),
    "labels too large": (
        lambda: changed(y=torch.tensor([0, 1, 2, 3])),
        "labels range from 0 to 3, but the model has 3 outputs; labels must be 0 to 2",
    ),
    "labels negative": (lambda: changed(y=torch.tensor([0, -1, 2, 1])), "labels range from -1 to 2"),
    "no targets, no teacher": (lambda: [GOOD[0][0]], "no targets and there is no teacher"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case: str) -> None:
    make, sentence = BAD_DATA[case]
    with pytest.raises(InputError, match=sentence) as caught:
        run(make(), schedule="constant" if case == "the same iterator again" else "cosine")
    assert "\n" not in str(caught.value)


def raising(outputs: Tensor, targets: Tensor) -> Tensor:
    raise KeyError("weights of classes")


BAD_LOSS: dict[str, tuple[Any, str]] = {
    "per sample": (lambda o, y: F.cross_entropy(o, y, reduction="none"), r"one number as a tensor.*found shape \(4,\)"),
    "a float": (lambda *_: 1.5, "one number as a tensor.*found float"),
    "detached": (lambda o, y: F.cross_entropy(o, y).detach(), "has no gradient; compute it from the outputs"),
    "raising": (raising, "The loss failed on a batch: KeyError: 'weights of classes'"),
}


@pytest.mark.parametrize("case", BAD_LOSS)
def test_bad_loss(case: str) -> None:
    loss, sentence = BAD_LOSS[case]
    with pytest.raises(InputError, match=sentence):
        run(loss=loss)


BAD_METRIC: dict[str, tuple[Any, str]] = {
    "raising": (lambda o, _: o[100], "The metric failed on a validation batch: IndexError"),
    "NaN": (lambda *_: float("nan"), "The metric gave NaN"),
    "no number": (lambda *_: "good", "The metric failed on a validation batch: ValueError"),
}


@pytest.mark.parametrize("case", BAD_METRIC)
def test_bad_metric(case: str) -> None:
    metric, sentence = BAD_METRIC[case]
    with pytest.raises(InputError, match=sentence):
        run(metric=metric)


BAD_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no length": ({"epochs": None}, "no length; give epochs, minutes or both"),
    "no epochs": ({"epochs": 0}, "at least 1; found 0"),
    "half an epoch": ({"epochs": 1.5}, "whole number, at least 1; found 1.5"),
    "minutes": ({"minutes": -1.0}, "'minutes' must be more than 0; found -1"),
    "rate": ({"rate": 0.0}, "'rate' must be more than 0; found 0"),
    "rate NaN": ({"rate": float("nan")}, "'rate' must be more than 0; found nan"),
    "momentum": ({"momentum": 1.0}, "'momentum' must be from 0 to below 1"),
    "warmup": ({"warmup": 5}, "'warmup' must be from 0 to below 1, a share of the steps; found 5"),
    "distill": ({"distill": 2.0}, "'distill' must be from 0 to 1; found 2"),
    "ema": ({"ema": 1.0}, "'ema' must be between 0 and 1"),
    "optimiser": ({"optimiser": "lion"}, "'optimiser' must be one of sgd, adamw; found 'lion'"),
    "best of nothing": ({"keep": "best", "metric": None}, "known only with validation data"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(case: str) -> None:
    options, sentence = BAD_OPTIONS[case]
    with pytest.raises(InputError, match=sentence):
        run(**options)


def test_what_else_is_missing() -> None:
    with pytest.raises(InputError, match="nothing to learn from"):
        run(loss=None)
    with pytest.raises(InputError, match="validation data is empty"):
        Validation(batches=[], metric=top1)
    frozen = nn.Linear(3, 3).requires_grad_(requires_grad=False)
    config = TrainConfig(epochs=1)
    data = TrainData(batches=GOOD, example_inputs=(torch.zeros(1, 3),))
    with pytest.raises(InputError, match="no parameter that can be trained"):
        train(frozen, data, config, objective=task_objective(F.cross_entropy, None, config))
    with pytest.raises(InputError, match=r"must return one number with a gradient.*found shape \(4, 3\)"):
        train(nn.Linear(3, 3), data, config, objective=lambda model, inputs, _: model(*inputs))


def test_a_model_that_fails_on_a_batch_is_named() -> None:
    class FixedBatch(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(1, 3))

    config = TrainConfig(epochs=1)
    data = TrainData(batches=GOOD, example_inputs=(torch.zeros(1, 3),))
    with pytest.raises(InputError, match=r"The model fails on a batch of shape \(4, 3\): RuntimeError"):
        train(FixedBatch(3, 3), data, config, objective=task_objective(F.cross_entropy, None, config))


def test_ignored_labels_and_other_batch_sizes_are_no_errors() -> None:
    data = [(torch.randn(n, 3), torch.tensor([1] * (n - 1) + [-100])) for n in (2, 5, 9)]
    assert run(data, metric=None).steps == 6


def test_targets_of_processes_are_cut_with_the_samples_or_refused() -> None:
    first, second = Processes(), Processes()
    first.count = second.count = 2
    second.rank = 1
    x, y = torch.arange(10.0).reshape(5, 2), torch.arange(5)
    targets = {"label": y, "boxes": [f"box {i}" for i in range(5)], "pair": (y, 2 * y), "scale": torch.tensor(3.0)}
    (a, share), (b, rest) = (p.share(Batch(inputs=(x,), targets=targets)) for p in (first, second))
    assert (a.size, b.size, share, rest) == (2, 3, 0.4, 0.6)
    assert torch.equal(torch.cat([a.targets["pair"][1], b.targets["pair"][1]]), 2 * y)
    assert a.targets["boxes"] + b.targets["boxes"] == targets["boxes"]
    with pytest.raises(InputError, match=r"Targets of 5 samples cannot be shared by processes; found shape \(7, 6\)"):
        first.share(Batch(inputs=(x,), targets=torch.zeros(7, 6)))
    one = Batch(inputs=(x[:1],), targets=y[:1])
    assert first.share(one)[1] + second.share(one)[1] == 1
