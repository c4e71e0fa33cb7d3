"""What a search may look at, and how samples are put together again."""

import pytest
import torch
from torch import Tensor

from hwcomp.data import joined_targets

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
