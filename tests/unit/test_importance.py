"""What importances compute, how gradients are gathered, and functions of the user's own."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.groups import WidthGroup, width_groups
from hwcomp.importance import Importance, gather_gradients, load_importance
from hwcomp.program import Program
from hwcomp.tracing import trace

EXAMPLE = (torch.zeros(2, 3, 8, 8),)


class Net(nn.Module):
    """Two convolutions whose channels are one group, and a third that no BatchNorm follows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.last, self.fc = nn.Conv2d(4, 5, 1), nn.Linear(5, 3)
        nn.init.uniform_(self.norm.weight, -1, 1)
        nn.init.uniform_(self.norm.running_var, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.a(x)) + self.b(x))
        return self.fc(self.last(y).mean((2, 3)))


@pytest.fixture
def program() -> Program:
    return trace(Net().eval(), EXAMPLE)


@pytest.fixture
def group(program: Program) -> WidthGroup:
    """The four channels of the two convolutions."""
    (found,) = (group for group in width_groups(program).groups if group.channels == 4)
    return found


def test_l1_adds_the_absolute_weights_of_all_members(program, group) -> None:
    net = program.module
    expected = net.a.weight.abs().sum((1, 2, 3)) + net.b.weight.abs().sum((1, 2, 3))
    torch.testing.assert_close(load_importance("l1")(net, group), expected.detach())


def test_l2_adds_the_norms_of_all_members(program, group) -> None:
    net = program.module
    expected = net.a.weight.flatten(1).norm(dim=1) + net.b.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(load_importance("l2")(net, group), expected.detach())


def test_group_l2_does_not_depend_on_the_size_of_a_layers_weights(program, group) -> None:
    importance = load_importance("group_l2")
    scores = importance(program.module, group)
    assert float(scores.mean()) == pytest.approx(1.0)
    program.module.a.weight.data *= 1000
    torch.testing.assert_close(importance(program.module, group), scores)
    program.module.a.weight.data.zero_()
    alone = program.module.b.weight.flatten(1).norm(dim=1).detach()
    torch.testing.assert_close(importance(program.module, group), alone / alone.mean() / 2)


def test_batchnorm_scale_is_the_absolute_scale(program, group) -> None:
    torch.testing.assert_close(
        load_importance("batchnorm_scale")(program.module, group), program.module.norm.weight.abs().detach()
    )
    (other,) = (group for group in width_groups(program).groups if group.channels == 5)
    with pytest.raises(InputError, match="'last' has no BatchNorm with a scale; choose"):
        load_importance("batchnorm_scale")(program.module, other)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn(2, 3, 8, 8, generator=generator), torch.randn(2, 3, generator=generator)) for _ in range(count)
    ]


def mean_loss(module: nn.Module) -> float:
    with torch.no_grad():
        return float(torch.stack([loss(module(x.double()), y.double()) for x, y in batches()]).mean())


def test_taylor_predicts_how_the_loss_moves_when_a_channel_shrinks(program, group) -> None:
    importance = load_importance("taylor")
    scores = importance(program.module, group, gather_gradients(program.module, batches(), loss))
    step = 1e-5
    for channel in range(4):
        smaller = copy.deepcopy(program.module).double()
        for layer in (smaller.a, smaller.b):
            layer.weight.data[channel] *= 1 - step
        moved = abs(mean_loss(smaller) - mean_loss(copy.deepcopy(program.module).double()))
        assert moved / step == pytest.approx(float(scores[channel]), rel=1e-2, abs=1e-6)


def test_gradients_are_the_mean_over_batches_as_at_inference(program) -> None:
    net = program.module
    net.train()
    state = copy.deepcopy(net.state_dict())
    gradients = gather_gradients(net, batches(), loss)
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    net.eval()
    torch.stack([loss(net(x), y) for x, y in batches()]).mean().backward()
    assert gradients.keys() == dict(net.named_parameters()).keys()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_frozen_and_unused_parameters_have_gradients_too() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    net.register_parameter("idle", nn.Parameter(torch.ones(2)))
    net[0].requires_grad_(requires_grad=False)
    gradients = gather_gradients(net, [(torch.randn(4, 3), torch.zeros(4, 2))], loss)
    assert bool(gradients["0.weight"].abs().sum() > 0)
    assert not bool(gradients["idle"].any())
    assert not net[0].weight.requires_grad


@pytest.mark.parametrize(
    ("data", "criterion", "said"),
    [
        ([], loss, "no batches"),
        ([torch.zeros(2, 3, 8, 8)], loss, "need targets"),
        (batches(1), lambda outputs, targets: outputs - targets, r"found a tensor of shape \(2, 3\)"),
        (batches(1), lambda *_: torch.tensor(1.0), "depends on the outputs"),
        (batches(1), lambda outputs, _: outputs.sum().item(), "found float"),
        (batches(1), lambda outputs, targets: loss(outputs, targets) / 0, "loss is inf"),
    ],
    ids=["empty", "unlabelled", "vector", "constant", "number", "infinite"],
)
def test_gradients_that_cannot_be_gathered(program, data, criterion, said: str) -> None:
    with pytest.raises(InputError, match=said):
        gather_gradients(program.module, data, criterion)


def test_random_scores_differ_between_seeds_and_groups(program, group) -> None:
    first = load_importance("random_control", seed=1)(program.module, group)
    assert torch.equal(first, load_importance("random_control", seed=1)(program.module, group))
    assert not torch.equal(first, load_importance("random_control", seed=2)(program.module, group))
    other = WidthGroup(name="other", channels=4, members=group.members)
    assert not torch.equal(first, load_importance("random_control", seed=1)(program.module, other))


def test_channels_of_several_entries_count_all_of_them() -> None:
    """Each head of attention is one channel: the norm is over all rows of its queries, keys and values."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(6, 36), nn.Linear(12, 6)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).reshape(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            return self.out(y.transpose(1, 2).reshape(2, 5, 12))

    program = trace(Heads(), (torch.randn(2, 5, 6),))
    (group,) = width_groups(program).groups
    assert group.channels == 3
    rows = program.module.qkv.weight.detach().view(3, 3, 4, 6)
    torch.testing.assert_close(load_importance("l2")(program.module, group), rows.square().sum((0, 2, 3)).sqrt())


OWN = """
import torch

def largest(module, group, gradients):
    return torch.arange(group.channels)

def drawn(module, group, gradients, seed):
    return torch.full((group.channels,), float(seed))

def short(module, group, gradients):
    return torch.zeros(group.channels + 1)

def listed(module, group, gradients):
    return [0.0] * group.channels

def undefined(module, group, gradients):
    return torch.full((group.channels,), float("nan"))

def broken(module, group, gradients):
    return module.nothing
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_function_of_the_users_own(own: Path, program, group) -> None:
    importance = load_importance(f"{own}:largest")
    assert importance.name == "largest"
    assert importance(program.module, group).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert load_importance(f"{own}:drawn", seed=7)(program.module, group).tolist() == [7.0] * 4
    assert not importance.needs_gradients
    own.write_text("NEEDS_GRADIENTS = True\n" + OWN)
    assert load_importance(f"{own}:largest").needs_gradients


def test_the_function_of_the_guide_works(tmp_path: Path, program, group) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "importance.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "mine.py").write_text(example)
    scores = load_importance(f"{tmp_path}/mine.py:largest_weight")(program.module, group)
    both = [layer.weight.detach().abs().amax((1, 2, 3)) for layer in (program.module.a, program.module.b)]
    assert torch.equal(scores, torch.maximum(*both))


def test_a_function_without_a_file(program, group) -> None:
    importance = Importance(name="even", score=lambda _, group, __: torch.ones(group.channels))
    assert importance(program.module, group).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("short", r"'short' gives a tensor of shape \(5,\) for group '.*'; it must .* a tensor of shape \(4,\)"),
        ("listed", "gives a list"),
        ("undefined", "gives NaN or infinity"),
        ("broken", r"'broken' failed on group '.*': AttributeError.*\(line \d+ of"),
    ],
)
def test_scores_that_are_none(own: Path, program, group, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_importance(f"{own}:{name}")(program.module, group)


def test_gradients_that_are_missing(program, group) -> None:
    with pytest.raises(InputError, match="'taylor' needs gradients; give labelled"):
        load_importance("taylor")(program.module, group)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("l3", "did you mean l2 or l1"),
        ("nowhere.py:f", "No file 'nowhere.py'"),
        ("{own}", r"is not named; give one as .*own.py:NAME \(largest, drawn, short"),
        ("{own}:nothing", "has no function 'nothing'"),
    ],
)
def test_importances_that_are_not_there(own: Path, spec: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_importance(spec.format(own=own))
