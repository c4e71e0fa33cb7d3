"""A compact program computes what the same network with its removed channels at zero computes, for every mask."""

import random

import pytest
import torch
from networks import NETWORKS, Random, example
from pruned import check_equal, random_mask, size, traced

from hwcomp.compaction import compact, masked
from hwcomp.groups import width_groups
from hwcomp.tracing import trace

EXAMPLES = {
    "resnet50": ("resnet", "resnet50"),
    "mobilenet_v3": ("mobile", "mobilenet_v3_large"),
    "efficientnet": ("mobile", "efficientnet_b0"),
}


@pytest.mark.parametrize("seed", range(18))
def test_random_networks_compute_the_same(seed: int) -> None:
    program = traced(Random(seed), (3, 3, 4, 4))
    groups = width_groups(program)
    assert not [note for note in groups.frozen if "not understood" in note.reason]
    generator = random.Random(seed)
    for _ in range(2):
        check_equal(program, groups, random_mask(groups, generator))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_kind_of_network_computes_the_same(name: str) -> None:
    build, shape = NETWORKS[name]
    program = traced(build(), shape)
    groups = width_groups(program)
    assert not [note for note in groups.frozen if "not understood" in note.reason]
    assert groups.groups
    generator = random.Random(name)
    for _ in range(2):
        kept = random_mask(groups, generator)
        small = check_equal(program, groups, kept)
        removed = sum(groups[key].channels - len(value) for key, value in kept.items())
        assert (size(small) < size(program)) == (removed > 0)
    smallest = {group.name: [group.channels - 1] for group in groups.groups}
    check_equal(program, groups, smallest)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_networks_of_the_examples_compute_the_same(name: str) -> None:
    program = traced(example(*EXAMPLES[name]), (2, 3, 32, 32))
    groups = width_groups(program)
    check_equal(program, groups, random_mask(groups, random.Random(name)))


def test_a_vision_transformer_loses_heads_and_width() -> None:
    program = traced(example("vit", "vit_tiny"), (1, 3, 224, 224))
    groups = width_groups(program)
    kept = {group.name: list(range(0, group.channels, 2)) for group in groups.groups}
    small = check_equal(program, groups, kept)
    assert small.module.get_submodule("blocks.3.attention.qkv").weight.shape == (2 * 3 * 64, 96)


@pytest.mark.parametrize(("file", "kind", "count"), [("resnet", "ResNet", 105), ("vit", "VisionTransformer", 49)])
def test_deep_networks_are_halved(file: str, kind: str, count: int) -> None:
    """A ResNet-152 and a transformer of 24 blocks."""
    options = {"blocks": (3, 8, 36, 3), "expansion": 4} if kind == "ResNet" else {"width": 64, "depth": 24, "heads": 4}
    shape = (1, 3, 32, 32) if kind == "ResNet" else (1, 3, 224, 224)
    program = trace(example(file, kind, **options), (torch.randn(shape),))
    groups = width_groups(program)
    assert len(groups.groups) == count
    kept = {group.name: list(range(1, group.channels, 2)) for group in groups.groups}
    small, same = compact(program, groups, kept), masked(program, groups, kept)
    assert 0.2 < size(small) / size(program) < 0.5
    with torch.no_grad():
        expected, result = same.module(*program.example_inputs), small.module(*program.example_inputs)
    assert (result - expected).abs().max() < 1e-5 * expected.abs().max()
