"""What a search may look at, and how samples are put together again."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwcomp import data
from hwcomp.data import (
    check_eval_data,
    is_read_once,
    joined_samples,
    joined_targets,
    search_data,
    train_batches,
    validation_samples,
)
from hwcomp.errors import InputError
from hwcomp.stages import Stages
from hwcomp.workload import Workload

SEVEN, EIGHT = torch.tensor([7]), torch.tensor([8])


@pytest.mark.parametrize(
    "targets",
    [[SEVEN, EIGHT], [[7], [8]], [SEVEN.numpy(), EIGHT.numpy()], [7, 8], [SEVEN[0], EIGHT[0]], [torch.tensor([7, 8])]],
    ids=["tensors", "lists", "arrays", "numbers", "without axes", "a batch"],
)
def test_targets_of_any_form_are_joined_along_the_samples(targets: list[object]) -> None:
    assert torch.equal(joined_targets(targets), torch.tensor([7, 8]))


def test_targets_with_axes_keep_them() -> None:
    masks: list[Tensor] = [torch.zeros(1, 4, 4), torch.ones(2, 4, 4)]
    assert joined_targets(masks).shape == (3, 4, 4)


def test_samples_are_joined_to_batches() -> None:
    labelled = [((torch.full((1, 2), float(i)), torch.full((1,), -float(i))), torch.tensor([i])) for i in range(5)]
    joined = joined_samples(labelled, 2)
    assert [y.tolist() for _, y in joined] == [[0, 1], [2, 3], [4]]
    assert [tuple(x.shape for x in inputs) for inputs, _ in joined] == [((2, 2), (2,)), ((2, 2), (2,)), ((1, 2), (1,))]
    assert joined[1][0][1].tolist() == [-2.0, -3.0]


def batches(count: int, start: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Return pairs whose inputs and labels are their number."""
    return [(torch.full((2, 3), float(i)), torch.full((2,), i)) for i in range(start, start + count)]


TRAIN, CALIBRATION, VALIDATION = batches(5), batches(2, 10), batches(3, 20)
SOURCES = {
    "train alone": {"train_data": TRAIN},
    "train and calibration": {"train_data": TRAIN, "calibration_data": CALIBRATION},
    "train and validation": {"train_data": TRAIN, "validation_data": VALIDATION},
    "all": {"train_data": TRAIN, "calibration_data": CALIBRATION, "validation_data": VALIDATION},
    "calibration alone": {"calibration_data": CALIBRATION},
}


def workload(**data: list[Any]) -> Workload:
    given: dict[str, Any] = {name: lambda batches=batches: batches for name, batches in data.items()}
    return Workload(name="w", model=nn.Linear(3, 2), example_inputs=(torch.zeros(1, 3),), **given)


@pytest.mark.parametrize("case", SOURCES)
def test_validation_samples_are_those_of_the_search(case: str) -> None:
    one = workload(**SOURCES[case])
    expected = [int(y) for _, y in search_data(one, 3, 0).validation]
    assert [int(y) for _, y in validation_samples(one, 3)] == expected
    assert set(expected) == {
        "train alone": {1, 2, 3, 4},  # the first three samples calibrate
        "train and calibration": {0, 1, 2, 3, 4},
        "calibration alone": set(),
    }.get(case, {20, 21, 22})


def test_what_can_be_read_again_is_told_from_what_cannot() -> None:
    again = replace(workload(), train_data=lambda: iter(TRAIN))
    assert not is_read_once(again, "train_data", train_batches(again))
    iterator = iter(TRAIN)
    once = replace(workload(), train_data=lambda: iterator)
    assert is_read_once(once, "train_data", train_batches(once))
    with pytest.raises(InputError, match=r"define train_data\(\)"):
        train_batches(workload())


def test_a_look_at_the_test_data_takes_nothing_of_an_iterator() -> None:
    iterator = iter(TRAIN)
    check_eval_data(replace(workload(), eval_data=lambda: iterator))
    assert len(list(iterator)) == len(TRAIN)


def test_generated_inputs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generating them takes seconds, and as many steps as there is time for: the next run gets the same ones."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    workload = Workload(name="w", model=network, example_inputs=(torch.zeros(1, 3, 8, 8),))
    kept = partial(Stages(tmp_path).blob, "inputs", "key")
    first = search_data(workload, 3, 0, kept=kept)
    monkeypatch.setattr(data, "generate_inputs", None)
    again = search_data(workload, 3, 0, kept=kept)
    assert again.source == first.source
    assert [x.shape for (x,) in again.inputs] == [(1, 3, 8, 8)] * 3
    assert all(torch.equal(x, y) for (x,), (y,) in zip(first.inputs, again.inputs, strict=True))
