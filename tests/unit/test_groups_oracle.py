"""Width groups against torch-pruning, which finds by another way what has to be removed with a channel."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from networks import NETWORKS, example
from torch import nn

from hwcomp.groups import WidthGroup, width_groups
from hwcomp.tracing import trace

SAME = {
    "DenseNet": None, "UNet": None, "Inception": None, "ConvNeXt": None, "Windows": None, "ResNeXt": None,
    "resnet18": ("resnet", "resnet18"), "resnet50": ("resnet", "resnet50"), "mobilenet_v2": ("mobile", "mobilenet_v2"),
    "mobilenet_v3": ("mobile", "mobilenet_v3_large"), "efficientnet": ("mobile", "efficientnet_b0"),
    "vit": ("vit", "vit_tiny"),
}  # fmt: skip
"""Networks on which both agree in every entry; where not in ``networks``, the example's file and function."""

DIFFERENT = {
    "ShuffleNet": "it does not follow single channels through the reshapes of a shuffle, and ties all of them",
    "OptionA": "it pads at the end, so that it ties channel i of a shortcut to channel i instead of i + 3",
    "SuperResolution": "it does not know that a pixel shuffle makes one channel of four",
    "Wave": "it does not know gated linear units, so it takes channel i of both halves for others than it gates",
    "Transformer": "it knows neither RMSNorm nor that the width of a head is fixed by the sizes of a reshape",
    "NonLocal": "it counts the parts of a split from the wrong channel when one of them is added to another",
    "LinearAttention": "it takes the channels that a product sums over for channels of its result",
    "Parts": "it does not follow single channels through the reshapes and the split",
    "Mixer": "it takes the tokens that a linear layer mixes for the channels beside them",
    "Gates": "it takes the one channel of a gate for all channels that it is broadcast over",
}
"""Networks on which they differ, and what torch-pruning does there; `test_compaction` shows that ours are right."""

Entry = tuple[str, str, int]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def our_unit(group: WidthGroup, channel: int) -> set[Entry]:
    return {
        (member.module, "in" if member.role == "reads" else "out", entry)
        for member in group.members
        if member.tensor == "weight"
        for entry in member.index[channel]
    }


def their_unit(network: nn.Module, graph: Any, group: WidthGroup, channel: int) -> set[Entry]:
    """Return what torch-pruning removes with the rows of a group's first layer; columns as numbered in the weight."""
    names = {module: name for name, module in network.named_modules()}
    maker = next(member for member in group.members if member.role == "makes" and member.tensor == "weight")
    layer = network.get_submodule(maker.module)
    prune = graph.get_pruner_of_module(layer).prune_out_channels
    unit = set()
    for dependency, entries in graph.get_pruning_group(layer, prune, idxs=list(maker.index[channel])):
        module = dependency.target.module
        if module not in names or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
            continue
        side = "out" if "out" in dependency.handler.__name__ else "in"
        columns = module.weight.shape[1] if side == "in" and isinstance(module, nn.Conv2d) else None
        unit |= {(names[module], side, int(entry) % columns if columns else int(entry)) for entry in entries}
    return unit


def differences(network: nn.Module, shape: tuple[int, ...]) -> list[tuple[str, int]]:
    """Return the channels, of three of each group, with which the two remove different things."""
    import torch_pruning

    inputs = torch.randn(shape)
    groups = width_groups(trace(network.eval(), (inputs,)))
    graph = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=inputs)
    return [
        (group.name, channel)
        for group in groups.groups
        for channel in sorted({0, group.channels // 2, group.channels - 1})
        if our_unit(group, channel) != their_unit(network, graph, group, channel)
    ]


@pytest.mark.parametrize("name", SAME)
def test_the_same_is_removed_with_every_channel(name: str) -> None:
    where = SAME[name]
    if where is None:
        build, shape = NETWORKS[name]
        network = build()
    else:
        network, shape = example(*where), (1, 3, 224, 224) if name == "vit" else (1, 3, 64, 64)
    assert differences(network, shape) == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_known_differences_are_still_there(name: str) -> None:
    build, shape = NETWORKS[name]
    assert differences(build(), shape), f"torch-pruning agrees now on {name}: move it to SAME"


def test_every_network_is_compared() -> None:
    assert {name for name, where in SAME.items() if where is None} | set(DIFFERENT) == set(NETWORKS)
