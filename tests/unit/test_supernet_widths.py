"""Widths of a supernet: with one width per group it computes what the network without the other channels computes."""

import copy
import random

import pytest
import torch
from networks import NETWORKS, alive, example
from pruned import traced
from torch import Tensor, nn

from hwcomp import target
from hwcomp.compaction import compact, masked
from hwcomp.errors import InputError
from hwcomp.groups import Groups, width_groups
from hwcomp.program import Program
from hwcomp.supernet import Supernet, Widths, logits_of, set_coefficients, sites_of, supernet, weights_to_source
from hwcomp.tracing import trace

TARGET = target.load("x86_64")
EXAMPLES = {"resnet18": "resnet", "mobilenet_v2": "mobile", "mobilenet_v3_large": "mobile"}
LEFT_OUT = {"ConvNeXt", "Transformer", "Windows", "Mixer", "LinearAttention", "NonLocal", "Parts", "ResNeXt"}
"""Networks where normalisation or products run over channels."""

BEYOND_PASSES = {"ShuffleNet"}
"""Networks that the passes of the default flow do not take: here a view of what is no longer contiguous."""


def random_widths(groups: Groups, generator: random.Random) -> tuple[dict[str, list[int]], dict[str, Tensor]]:
    """Three widths or fewer for every group, and channels ranked at random."""
    widths, ranks = {}, {}
    for group in groups.groups:
        few = sorted({generator.randint(1, group.channels), generator.randint(1, group.channels), group.channels})
        widths[group.name] = few
        ranks[group.name] = torch.tensor(generator.sample(range(group.channels), group.channels))
    return widths, ranks


def searched(program: Program, seed: str) -> tuple[Supernet, Groups, dict[str, list[int]], dict[str, Tensor]]:
    groups = width_groups(program)
    widths, ranks = random_widths(groups, random.Random(seed))
    net = supernet(program, TARGET, {}, widths=Widths(groups=groups, choices=widths, ranks=ranks))
    return net, groups, widths, ranks


def run(module: nn.Module, program: Program, *, training: bool) -> Tensor:
    module = copy.deepcopy(module).train(training)
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.eval()
    with torch.no_grad():
        return module(*program.example_inputs)


def check(program: Program, seed: str) -> Supernet:
    """Choose one width for every group and compare with the masked and with the smaller network."""
    net, groups, widths, ranks = searched(program, seed)
    generator = random.Random(seed)
    left_out = {note.site for note in net.left_out}
    chosen = {name: generator.randrange(len(few)) for name, few in widths.items() if name not in left_out}
    coefficients = {
        f"width:{name}": torch.eye(len(widths[name]))[index].requires_grad_() for name, index in chosen.items()
    }
    set_coefficients(net.program.module, coefficients)
    kept = {name: torch.nonzero(ranks[name] < widths[name][index]).flatten().tolist() for name, index in chosen.items()}
    for other in (masked(program, groups, kept), compact(program, groups, kept)):
        for training in (False, True):
            expected, found = (run(x.module, program, training=training) for x in (other, net.program))
            assert float((found - expected).abs().max()) <= 1e-7 * float(expected.abs().max()), training
    return net


@pytest.mark.parametrize("name", sorted({*NETWORKS} - BEYOND_PASSES))
def test_one_width_each_is_the_smaller_network(name: str) -> None:
    build, shape = NETWORKS[name]
    net = check(traced(build(), shape), name)
    assert bool(net.left_out) == (name in LEFT_OUT), net.left_out
    assert all(len(note.reason.split()) > 5 for note in net.left_out)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_one_width_each_in_the_examples(name: str) -> None:
    net = check(traced(example(EXAMPLES[name], name), (2, 3, 32, 32)), name)
    assert not net.left_out


def test_without_coefficients_it_is_the_network_itself() -> None:
    program = traced(example("resnet", "resnet18"), (2, 3, 32, 32))
    net, *_ = searched(program, "none")
    torch.testing.assert_close(net.program.module(*program.example_inputs), program.module(*program.example_inputs))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).relu().mean((2, 3)))


def pair() -> tuple[Program, Groups]:
    program = trace(alive(Pair()).eval(), (torch.randn(2, 3, 8, 8),))
    return program, width_groups(program)


def test_a_mixture_scales_channels_by_how_likely_they_stay() -> None:
    program, groups = pair()
    ranks = {"a": torch.tensor([2, 0, 1, 5, 3, 4]), "b": torch.arange(4)}
    choices = {"a": [2, 4, 6], "b": [1, 4]}
    net = supernet(program, TARGET, {}, widths=Widths(groups=groups, choices=choices, ranks=ranks))
    p = torch.tensor([0.2, 0.3, 0.5])
    set_coefficients(net.program.module, {"width:a": p})
    gates = torch.tensor([0.8, 1.0, 1.0, 0.5, 0.8, 0.5])
    x, model = program.example_inputs[0], program.module
    y = model.b(model.a(x).relu() * gates.view(1, -1, 1, 1)).relu()
    torch.testing.assert_close(net.program.module(x), model.c(y.mean((2, 3))))


def test_gradients_reach_the_logits_of_widths() -> None:
    """By finite differences."""
    program, groups = pair()
    ranks = {"a": torch.arange(6), "b": torch.arange(4)}
    choices = {"a": [2, 4, 6], "b": [1, 4]}
    net = supernet(program, TARGET, {}, widths=Widths(groups=groups, choices=choices, ranks=ranks))

    logits = {name: x for name, x in logits_of(net.program.module).items() if name.startswith("width:")}

    def loss() -> Tensor:
        set_coefficients(net.program.module, {name: torch.softmax(x, 0) for name, x in logits.items()})
        return net.program.module(*program.example_inputs).square().mean()

    loss().backward()
    assert sorted(logits) == ["width:a", "width:b"]
    for x in logits.values():
        for index in range(len(x)):
            values = []
            for step in (1e-2, -1e-2):
                with torch.no_grad():
                    x[index] += step
                    values.append(float(loss()))
                    x[index] -= step
            assert float(x.grad[index]) == pytest.approx((values[0] - values[1]) / 2e-2, rel=0.02, abs=1e-5)


def test_trained_weights_come_back_into_the_traced_network() -> None:
    program = trace(alive(example("resnet", "resnet18")).eval(), (torch.randn(2, 3, 32, 32),))
    before = copy.deepcopy(program.module.state_dict())
    net, *_ = searched(program, "back")
    sites = set(sites_of(net.program.module))
    assert sites == set(net.sites)
    trained = copy.deepcopy(net.program.module).train()
    assert set(sites_of(trained)) == sites
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.01)
    trained(*program.example_inputs).square().mean().backward()
    optimiser.step()
    back = weights_to_source(trained, net.program, net.source)
    torch.testing.assert_close(back.module(*program.example_inputs), trained.eval()(*program.example_inputs))
    assert all(torch.equal(before[name], value) for name, value in program.module.state_dict().items())
    assert all(torch.equal(before[name], value) for name, value in net.source.module.state_dict().items())
    assert not torch.equal(before["fc.weight"], back.module.state_dict()["fc.weight"])
    with pytest.raises(InputError, match="no copy of this one"):
        weights_to_source(nn.Linear(2, 2), net.program, net.source)


@pytest.mark.parametrize(
    ("widths", "ranks", "reason"),
    [
        ({"a": [4, 2, 6]}, {"a": torch.arange(6)}, "ascending"),
        ({"a": [2, 4]}, {"a": torch.arange(6)}, "full width, 6"),
        ({"a": [0, 6]}, {"a": torch.arange(6)}, "from 1 on"),
        ({"a": []}, {"a": torch.arange(6)}, "full width, 6"),
        ({"a": [2, 6]}, {"a": torch.arange(5)}, "the rank of each"),
        ({"a": [2, 6]}, {}, "the rank of each"),
        ({"a": [2, 6]}, {"a": torch.zeros(6, dtype=torch.long)}, "each once"),
        ({"z": [2, 6]}, {"z": torch.arange(6)}, "no width group 'z'"),
    ],
    ids=["order", "full", "zero", "none", "short", "missing", "twice", "unknown"],
)
def test_wrong_widths_are_refused(widths: dict[str, list[int]], ranks: dict[str, Tensor], reason: str) -> None:
    program, groups = pair()
    with pytest.raises(InputError, match=reason):
        supernet(program, TARGET, {}, widths=Widths(groups=groups, choices=widths, ranks=ranks))


def test_channels_that_a_product_sums_over_are_left_out(make_network) -> None:
    """Queries and keys without heads are multiplied and summed, by no layer's weight."""
    network = make_network("attention")
    net, *_ = searched(trace(network.model, network.inputs), "attention")
    assert any("matmul sums over its channels" in note.reason for note in net.left_out), net.left_out


class Upsampled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.up, self.b = nn.Conv2d(3, 6, 3), nn.ConvTranspose2d(6, 6, 2, 2, groups=6), nn.Conv2d(6, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.up(self.a(x).relu()))


def test_layers_that_work_on_each_channel_alone_do_not_scale_it_again() -> None:
    program = trace(alive(Upsampled()).eval(), (torch.randn(2, 3, 8, 8),))
    widths = Widths(groups=width_groups(program), choices={"a": [3, 6]}, ranks={"a": torch.arange(6)})
    net = supernet(program, TARGET, {}, widths=widths)
    set_coefficients(net.program.module, {"width:a": torch.tensor([0.5, 0.5])})
    gates = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
    x, model = program.example_inputs[0], program.module
    expected = model.b(model.up(model.a(x).relu()) * gates.view(1, -1, 1, 1))
    torch.testing.assert_close(net.program.module(x), expected)
