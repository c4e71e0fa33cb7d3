"""A compact program is a program like any other: it trains, traces, exports and has groups again."""

import copy
import random

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import NETWORKS, alive
from pruned import check_equal, random_mask, traced
from torch import Tensor, nn

from hwcomp.compaction import compact, masked, zero_channels
from hwcomp.errors import InputError
from hwcomp.groups import width_groups
from hwcomp.lowering.onnx_export import export_plain
from hwcomp.tracing import trace


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_compact_network_takes_the_batch_sizes_of_the_original(name: str) -> None:
    build, shape = NETWORKS[name]
    program = traced(build(), shape)
    groups = width_groups(program)
    small = compact(program, groups, random_mask(groups, random.Random(name)))
    batch = torch.randn(5, *shape[1:], dtype=torch.float64)
    assert small.module(batch).shape == program.module(batch).shape


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_compact_network_is_a_program_like_any_other(name: str) -> None:
    """It has groups again, is traced again to the same, and has modules that say their sizes."""
    build, shape = NETWORKS[name]
    program = traced(build(), shape)
    groups = width_groups(program)
    kept = random_mask(groups, random.Random(name))
    small = compact(program, groups, kept)
    again = width_groups(small)
    check_equal(small, again, random_mask(again, random.Random(name)))
    retraced = trace(small.module, program.example_inputs)
    assert torch.equal(retraced.module(*program.example_inputs), small.module(*program.example_inputs))
    for module in small.module.modules():
        if isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == tuple(module.weight.shape)
        if isinstance(module, nn.Conv2d):
            assert (module.out_channels, module.in_channels // module.groups) == tuple(module.weight.shape[:2])
        if isinstance(module, nn.BatchNorm2d):
            assert module.num_features == len(module.running_mean)


@pytest.mark.parametrize("name", ["Inception", "OptionA", "ShuffleNet", "Transformer"])
def test_compact_networks_run_in_onnx_runtime(name: str) -> None:
    build, shape = NETWORKS[name]
    program = trace(alive(build()), (torch.randn(shape),))
    groups = width_groups(program)
    small = compact(program, groups, random_mask(groups, random.Random(name)))
    model = export_plain(small.module, program.example_inputs, ["x"])
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    (result,) = session.run(None, {"x": program.example_inputs[0].numpy()})
    with torch.no_grad():
        expected = small.module(*program.example_inputs).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


def test_nothing_is_changed_in_the_argument() -> None:
    program = traced(NETWORKS["ShuffleNet"][0](), (2, 3, 8, 8))
    groups = width_groups(program)
    before = {name: tensor.clone() for name, tensor in program.module.state_dict().items()}
    code = program.module.code
    kept = {group.name: [0] for group in groups.groups}
    compact(program, groups, kept)
    masked(program, groups, kept)
    assert program.module.code == code
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.module.state_dict().items())
    assert program.module.get_submodule("stem.0").out_channels == 12


def test_a_compact_network_trains() -> None:
    program = trace(NETWORKS["ResNeXt"][0](), (torch.randn(2, 3, 8, 8),))
    groups = width_groups(program)
    small = compact(program, groups, {group.name: [0, 2] for group in groups.groups if group.channels > 2})
    small.module.train()
    optimiser = torch.optim.SGD(small.module.parameters(), 0.05)
    target = torch.tensor([1, 3])
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(small.module(*program.example_inputs), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(parameter.grad is not None for parameter in small.module.parameters())


def test_keeping_everything_changes_nothing() -> None:
    program = traced(NETWORKS["Windows"][0](), (2, 3, 8, 8))
    groups = width_groups(program)
    for kept in ({}, {group.name: list(range(group.channels)) for group in groups.groups}):
        small = compact(program, groups, kept)
        assert torch.equal(small.module(*program.example_inputs), program.module(*program.example_inputs))
        assert small.module.code == program.module.code


class PlainNorms(nn.Module):
    """Normalisations without weights, which would set removed channels to minus the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.group = nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8, affine=False)
        self.second, self.layer = nn.Linear(8, 6), nn.LayerNorm(6, elementwise_affine=False)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group(self.first(x)).permute(0, 2, 3, 1)
        return self.last(self.layer(self.second(x)))


def test_masked_norms_give_zero_where_channels_are_removed() -> None:
    program = traced(PlainNorms(), (2, 3, 4, 4))
    groups = width_groups(program)
    kept = {"first": [1, 3], "second": [0, 5]}
    check_equal(program, groups, kept)
    same = masked(program, groups, kept).module
    seen: dict[str, Tensor] = {}
    for name in ("group_masked", "layer_masked"):
        same.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    same(*program.example_inputs)
    assert seen["group_masked"].abs().sum((0, 2, 3)).nonzero().flatten().tolist() == [1, 3, 5, 7]
    assert seen["layer_masked"].abs().sum((0, 1, 2)).nonzero().flatten().tolist() == [0, 5]


class Scaled(nn.Module):
    """Computes with the number of its channels, which is no size there."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x / x.shape[1] + torch.sigmoid(x).mul(other=x.size(1) ** -0.5))


def test_numbers_that_are_no_sizes_stay_what_they_were() -> None:
    program = traced(Scaled(), (2, 3, 4, 4))
    check_equal(program, width_groups(program), {"first": [1, 2, 5]})


def test_a_network_in_training_keeps_its_statistics_modes_and_what_is_not_trained() -> None:
    program = trace(NETWORKS["UNet"][0](), (torch.randn(2, 3, 16, 16),))
    groups = width_groups(program)
    program.module.train()
    program.module.get_submodule("bottom.1").eval()
    program.module.get_submodule("down1.0").requires_grad_(False)
    small = compact(program, groups, {"down1_0": [0, 5]}).module
    assert torch.equal(small.get_submodule("down1.1").running_var, torch.ones(2))
    assert small.training
    assert [name for name, one in small.named_parameters() if not one.requires_grad] == ["down1.0.weight"]
    assert small.get_submodule("down1.1").training
    assert not small.get_submodule("bottom.1").training


class Tied(nn.Module):
    """One embedding serves as the last layer, and one convolution serves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.last.weight = self.words.weight
        self.twice = nn.Conv1d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x).transpose(1, 2)
        return self.last(self.twice(self.twice(x).relu()).transpose(1, 2))


def test_shared_weights_stay_shared() -> None:
    program = trace(Tied(), (torch.randint(0, 11, (2, 4)),))
    groups = width_groups(program)
    assert [(group.name, group.channels) for group in groups.groups] == [("words", 6)]
    small = compact(program, groups, {"words": [0, 3, 4]}).module
    assert small.last.weight is small.words.weight
    assert small.words.weight.shape == (11, 3)
    assert small.words.embedding_dim == 3
    assert small.twice.weight.shape == (3, 3, 3)
    expected = masked(program, groups, {"words": [0, 3, 4]}).module(*program.example_inputs)
    torch.testing.assert_close(small(*program.example_inputs), expected)


def test_zeroed_channels_are_zero_and_their_readers_stay() -> None:
    program = trace(alive(NETWORKS["UNet"][0]()), (torch.randn(2, 3, 16, 16),))
    groups = width_groups(program)
    module = copy.deepcopy(program.module)
    zero_channels(module, groups, {"down1_0": [1, 4], "up1": [0]})
    conv, norm = module.get_submodule("down1.0"), module.get_submodule("down1.1")
    assert not conv.weight[[1, 4]].any()
    assert conv.weight[[0, 2, 3, 5]].flatten(1).any(1).all()
    assert not norm.weight[[1, 4]].any()
    assert not norm.bias[[1, 4]].any()
    assert not module.up1.weight[:, 0].any()
    assert not module.up1.bias[0]
    for reader in ("down2.0.weight", "merge1.0.weight"):
        assert torch.equal(module.state_dict()[reader], program.module.state_dict()[reader])
    assert conv.weight.requires_grad


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({"nothing": [0]}, "no width group 'nothing'; take one of: down1_0"),
        ({"up1": []}, "keep at least one"),
        ({"up1": [0, 6]}, "Channel 6 of group 'up1' is to be kept, but its channels are 0 to 5"),
        ({"up1": [-1, 2]}, "Channel -1"),
        ({"up1": [2, 2]}, "not ascending"),
        ({"up1": [3, 1]}, "not ascending"),
    ],
    ids=["unknown", "none", "beyond", "negative", "twice", "unsorted"],
)
def test_bad_choices_are_refused(kept: dict[str, list[int]], said: str) -> None:
    program = trace(NETWORKS["UNet"][0](), (torch.randn(2, 3, 16, 16),))
    groups = width_groups(program)
    with pytest.raises(InputError, match=said):
        compact(program, groups, kept)
    with pytest.raises(InputError, match=said):
        masked(program, groups, kept)
    if kept != {"up1": []}:
        with pytest.raises(InputError):
            zero_channels(program.module, groups, kept)


def test_groups_of_another_network_are_refused() -> None:
    program = trace(NETWORKS["UNet"][0](), (torch.randn(2, 3, 16, 16),))
    groups = width_groups(program)
    small = compact(program, groups, {"down1_0": [0, 2]})
    said = r"of another network: down1.0.weight should have 6 entries along axis 0, but has the shape \(2, 3, 3, 3\)"
    for use in (compact, masked):
        with pytest.raises(InputError, match=said):
            use(small, groups, {"down1_0": [0]})
    with pytest.raises(InputError, match=r"stem\.weight should have 3 entries along axis 1, but is not there; call"):
        zero_channels(small.module, width_groups(traced(NETWORKS["DenseNet"][0](), (2, 3, 8, 8))), {"stem": [0]})
