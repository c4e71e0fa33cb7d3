"""Batches in pairs: each batch is read once, weights and choices never share one within a step."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.search.paired_data import Paired, paired_data
from hwcomp.train import TrainData
from hwcomp.train.feed import Epoch
from hwcomp.train.processes import Processes


def numbered(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    """Batches whose targets count their samples."""
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return [
        (torch.arange(s, s + n).float()[:, None], torch.arange(s, s + n)) for s, n in zip(starts, sizes, strict=True)
    ]


def read(data: TrainData, seed: int = 0, number: int = 0) -> list[Any]:
    """What the training loop makes of the data."""
    return list(Epoch(data, seed, number))


def train_data(batches: Any, **options: Any) -> TrainData:
    return TrainData(batches=batches, example_inputs=(torch.zeros(1, 1),), **options)


def test_neighbours_are_pairs_and_every_batch_is_read_once() -> None:
    found = read(paired_data(train_data(numbered(4, 4, 4, 4))))
    assert [[t.tolist() for t in batch.targets] for batch in found] == [
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [[8, 9, 10, 11], [12, 13, 14, 15]],
    ]
    for batch in found:
        assert len(batch.inputs) == 2
        assert all(torch.equal(x[:, 0].long(), t) for x, t in zip(batch.inputs, batch.targets, strict=True))
        assert batch.size == 4


@pytest.mark.parametrize(
    ("sizes", "pairs"),
    [((4, 4, 4), [4]), ((4, 4, 4, 3), [4]), ((4, 3, 4, 4), [4]), ((4, 4, 3, 3), [4, 3])],
)
def test_what_has_no_neighbour_of_its_size_is_left_out(sizes: tuple[int, ...], pairs: list[int]) -> None:
    paired = Paired(numbered(*sizes))
    assert [len(targets[0]) for _, targets in paired] == pairs
    assert len(paired) == len(sizes) // 2


@pytest.mark.parametrize("sizes", [(64,), (64, 36)])
def test_data_without_a_pair_is_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=rf"two batches a step, and no two neighbours of the {len(sizes)} in"):
        read(paired_data(train_data(numbered(*sizes))))
    with pytest.raises(InputError, match="train_data yields nothing"):
        read(paired_data(train_data([])))


def test_inputs_alone_several_inputs_and_dicts() -> None:
    alone = next(iter(Paired([torch.zeros(2, 3), torch.ones(2, 3)])))
    assert [x.tolist() for x in alone[0][0]] == [[[0.0] * 3] * 2]
    assert alone[1] == (None, None)
    several = [((torch.zeros(2, 1), torch.ones(2, 2)), torch.tensor([index] * 2)) for index in range(2)]
    inputs, targets = next(iter(Paired(several)))
    assert [[tuple(x.shape) for x in half] for half in inputs] == [[(2, 1), (2, 2)]] * 2
    assert [t.tolist() for t in targets] == [[0, 0], [1, 1]]
    named = [{"x": torch.full((2, 1), float(index)), "label": torch.tensor([index] * 2)} for index in range(2)]
    inputs, targets = next(iter(Paired(named)))
    assert [half[0][0].item() for half in inputs] == [0.0, 1.0]
    assert [t.tolist() for t in targets] == [[0, 0], [1, 1]]


def test_data_of_every_kind_has_half_the_steps_and_two_times_the_inputs() -> None:
    data = train_data(lambda: numbered(4, 4, 4, 4, 4, 4), steps=4, name="mine")
    paired = paired_data(data)
    assert (paired.steps, paired.name, len(paired.example_inputs)) == (2, "mine", 2)
    assert len(read(paired)) == 2
    assert paired_data(train_data(numbered(4, 4))).steps is None

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from numbered(4)

    epoch = Epoch(paired_data(train_data(endless, steps=6)), 0, 0)
    assert epoch.length == 3
    assert len(list(epoch)) == 3


def test_what_is_no_data_is_refused_as_without_pairs() -> None:
    for nothing in (lambda: None, lambda: 3):
        with pytest.raises(InputError, match=r"train_data gives .*; give an iterable of batches"):
            read(paired_data(train_data(nothing)))
    wrong = [(torch.zeros(4, 2), torch.zeros(4))] * 2
    with pytest.raises(InputError, match=r"inputs of shape \[\(2,\), \(2,\)\] .* the model takes \[\(1,\), \(1,\)\]"):
        read(paired_data(train_data(wrong)))


def test_a_shuffled_pass_is_repeated_by_its_seed_and_number() -> None:
    samples = torch.arange(40)

    def shuffled() -> list[tuple[Tensor, Tensor]]:
        return [(index[:, None].float(), index) for index in samples[torch.randperm(40)].split(10)]

    def dealt(number: int) -> list[list[int]]:
        epoch = read(paired_data(train_data(shuffled)), seed=1, number=number)
        return [t.tolist() for batch in epoch for t in batch.targets]

    assert dealt(0) == dealt(0)
    assert dealt(0) != dealt(1)
    assert sorted(n for batch in dealt(1) for n in batch) == list(range(40))


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_share_both_halves_of_a_pair(rank: int) -> None:
    processes = Processes()
    processes.rank, processes.count = rank, 2
    batch = read(paired_data(train_data(numbered(4, 4))))[0]
    mine, share = processes.share(batch)
    assert share == 0.5
    assert [t.tolist() for t in mine.targets] == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]][rank]
    assert [x[:, 0].tolist() for x in mine.inputs] == [t.tolist() for t in mine.targets]
