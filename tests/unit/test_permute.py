"""Channels in another order compute the same, whatever the network does with them."""

import copy
import random

import pytest
import torch
from networks import NETWORKS, Random, example
from pruned import traced
from torch import Tensor, nn

from hwcomp.compaction import permuted
from hwcomp.errors import InputError, PassError
from hwcomp.groups import Groups, width_groups
from hwcomp.passes.split_filters import SplitFilters
from hwcomp.program import Program
from hwcomp.tracing import trace


def random_order(groups: Groups, generator: random.Random) -> dict[str, list[int]]:
    return {group.name: generator.sample(range(group.channels), group.channels) for group in groups.groups}


def check(program: Program, seed: object) -> None:
    """Compare in eval and in train mode, and put everything back."""
    groups = width_groups(program)
    order = random_order(groups, random.Random(str(seed)))
    result = permuted(program, groups, order)
    assert any(not torch.equal(tensor, program.module.state_dict()[name]) for name, tensor in _state(result))
    for training in (False, True):
        modules = [copy.deepcopy(one.module).train(training) for one in (program, result)]
        for part in (part for module in modules for part in module.modules() if isinstance(part, nn.Dropout)):
            part.eval()
        with torch.no_grad():
            expected, found = (module(*program.example_inputs) for module in modules)
        assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()
    back = {name: sorted(range(len(channels)), key=channels.__getitem__) for name, channels in order.items()}
    again = permuted(result, width_groups(result), back)
    assert all(torch.equal(tensor, program.module.state_dict()[name]) for name, tensor in _state(again))


def _state(program: Program) -> list[tuple[str, Tensor]]:
    return list(program.module.state_dict().items())


@pytest.mark.parametrize("seed", range(18))
def test_random_networks_compute_the_same(seed: int) -> None:
    check(traced(Random(seed), (3, 3, 4, 4)), seed)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_kind_of_network_computes_the_same(name: str) -> None:
    build, shape = NETWORKS[name]
    check(traced(build(), shape), name)


def test_a_network_of_the_examples_computes_the_same() -> None:
    check(traced(example("mobile", "mobilenet_v3_large"), (2, 3, 32, 32)), "mobilenet_v3")


class Pair(nn.Module):
    """Two convolutions with a normalisation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)).relu())


def test_all_members_of_a_group_get_the_order() -> None:
    program = traced(Pair(), (2, 3, 4, 4))
    program.module.get_submodule("first").weight.requires_grad_(False)
    program.module.get_submodule("norm").train()
    before = {name: tensor.clone() for name, tensor in _state(program)}
    order = [2, 0, 3, 1]
    result = permuted(program, width_groups(program), {"first": order}).module
    for name in ("first.weight", "first.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
        assert torch.equal(result.state_dict()[name], before[name][order])
    assert torch.equal(result.state_dict()["last.weight"], before["last.weight"][:, order])
    assert torch.equal(result.state_dict()["last.bias"], before["last.bias"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in _state(program))
    assert [name for name, one in result.named_parameters() if not one.requires_grad] == ["first.weight"]
    assert [name for name, one in result.named_modules() if one.training] == ["norm"]


class Positional(Pair):
    """The same modules; each channel is scaled by its position."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)).relu() * torch.arange(4.0).view(4, 1, 1))


def test_an_order_that_would_change_the_outputs_is_refused() -> None:
    groups = width_groups(traced(Pair(), (2, 3, 4, 4)))
    program = traced(Positional(), (2, 3, 4, 4))
    with pytest.raises(PassError, match="channels of first cannot be put in this order"):
        permuted(program, groups, {"first": [2, 0, 3, 1]})


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4], [0, 1, 2, 3, 3]])
def test_an_order_that_is_no_permutation_is_refused(order: list[int]) -> None:
    program = trace(Pair(), (torch.randn(2, 3, 4, 4),))
    with pytest.raises(InputError, match="does not name each of its channels, 0 to 3, once"):
        permuted(program, width_groups(program), {"first": order})


def test_groups_that_are_not_there_are_refused() -> None:
    program = trace(Pair(), (torch.randn(2, 3, 4, 4),))
    with pytest.raises(InputError, match="no width group 'norm'; take one of: first"):
        permuted(program, width_groups(program), {"norm": [0, 1, 2, 3]})
    other = trace(NETWORKS["UNet"][0](), (torch.randn(2, 3, 16, 16),))
    with pytest.raises(InputError, match="of another network"):
        permuted(program, width_groups(other), {"up1": list(range(6))})


def test_the_largest_filters_are_put_into_one_part() -> None:
    program = traced(NETWORKS["UNet"][0](), (2, 3, 16, 16))
    size = program.module.get_submodule("down1.0").weight.detach().abs().sum((1, 2, 3))
    order = torch.argsort(size, descending=True).tolist()
    sorted_program = permuted(program, width_groups(program), {"down1_0": order})
    split = SplitFilters(sites=("down1_0",), multiple=3)(sorted_program).program
    first, second = (split.module.get_submodule(f"down1.0_part{index}").weight.abs().sum((1, 2, 3)) for index in (0, 1))
    assert first.min() > second.max()
    torch.testing.assert_close(split.module(*program.example_inputs), program.module(*program.example_inputs))
