"""Splitting layers by their filters changes nothing that is computed, and merging undoes it to the letter."""

import copy
import random
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import NETWORKS, Random, alive
from pruned import check_equal, random_mask, traced
from torch import Tensor, nn

from hwcomp import target
from hwcomp.default_passes import default_passes
from hwcomp.errors import InputError
from hwcomp.groups import width_groups
from hwcomp.kernels import search_space
from hwcomp.ops import module_of, op_of, tail_of
from hwcomp.passes.merge_filters import MergeFilters, merged_assignment, merged_names
from hwcomp.passes.split_filters import SplitFilters
from hwcomp.program import Program, finish, run_passes
from hwcomp.tracing import trace


class Net(nn.Module):
    """Convolutions with all kinds of followers, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 44, 3, padding=1, bias=False), nn.BatchNorm2d(44))
        self.body = nn.Sequential(nn.Conv2d(44, 32, 3, padding=1), nn.BatchNorm2d(32), nn.Hardtanh(0, 6))
        self.plain, self.act = nn.Conv2d(32, 32, 1), nn.SiLU()
        self.fc, self.last = nn.Linear(32, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x).relu())
        x = x + self.act(self.plain(x))
        return self.last(F.relu(self.fc(x.mean((2, 3)))))


@pytest.fixture
def program() -> Program:
    return traced(Net(), (2, 3, 6, 6))


def names(program: Program) -> list[str]:
    return [node.name for node in program.nodes]


def assert_computes_the_same(one: Program, other: Program) -> None:
    """Also in train mode, where BatchNorm uses and updates its statistics."""
    for training in (False, True):
        results = [_run(program, training=training) for program in (one, other)]
        for left, right in zip(*results, strict=True):
            assert (left - right).abs().max() <= 1e-9 * left.abs().max().clamp_min(1)


def _run(program: Program, *, training: bool) -> tuple[Tensor, Tensor]:
    """Return the outputs in train or eval mode, and after that those with the statistics that this left."""
    module = copy.deepcopy(program.module).train(training)
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.eval()
    with torch.no_grad():
        return module(*program.example_inputs), module.eval()(*program.example_inputs)


def assert_identical(one: Program, other: Program) -> None:
    """But for what every pass does to a traced network: it drops dead nodes and the types of what forward takes."""
    one, other = finish(one.fork()), finish(other.fork())
    assert other.module.code == one.module.code
    before, after = one.module.state_dict(), other.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert str(other.module) == str(one.module)


@pytest.mark.parametrize("name", [*sorted(NETWORKS), *(f"Random{seed}" for seed in range(8))])
def test_networks_are_split_and_merged_again(name: str) -> None:
    model, shape = (Random(int(name[6:])), (3, 3, 4, 4)) if name.startswith("Random") else _built(name)
    program = traced(model, shape)
    for parts, multiple in ((2, 2), (3, 1)):
        split = SplitFilters(parts=parts, multiple=multiple)(program)
        assert split.changed
        assert_computes_the_same(program, split.program)
        merged = MergeFilters()(split.program)
        assert merged.changed >= split.changed
        assert_identical(program, merged.program)


def _built(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    build, shape = NETWORKS[name]
    return build(), shape


def test_parts_take_their_batchnorm_and_relu_and_begin_at_multiples(program: Program) -> None:
    split = SplitFilters()(program).program
    assert names(split) == [
        "x", "stem_0_part0", "stem_0_part1", "stem_1_part0", "stem_1_part1", "relu_part0", "relu_part1", "stem_0_cat",
        "body_0_part0", "body_0_part1", "body_1_part0", "body_1_part1", "body_2_part0", "body_2_part1", "body_0_cat",
        "plain_part0", "plain_part1", "plain_cat", "act", "add", "mean",
        "fc_part0", "fc_part1", "relu_1_part0", "relu_1_part1", "fc_cat", "last", "output",
    ]  # fmt: skip
    sizes = {
        node.name: len(module.weight) for node in split.nodes if (module := module_of(node)) and module.state_dict()
    }
    assert [sizes[name] for name in ("stem_0_part0", "stem_0_part1")] == [16, 28]
    assert [sizes[name] for name in ("body_1_part0", "body_1_part1")] == [16, 16]
    assert [sizes[name] for name in ("fc_part0", "fc_part1")] == [8, 16]
    one = split.module.get_submodule("stem.0_part1")
    assert (one.in_channels, one.out_channels) == (3, 28)
    assert split.module.get_submodule("stem.1_part1").num_features == 28
    assert split.module.get_submodule("fc_part1").out_features == 16


@pytest.mark.parametrize(("parts", "found"), [(3, [8, 16, 20]), (5, [8] * 4 + [12]), (9, [8] * 4 + [12])])
def test_there_are_no_parts_below_the_multiple(program: Program, parts: int, found: list[int]) -> None:
    split = SplitFilters(parts=parts, sites=("stem_0",))(program).program
    layers = [module for name, module in split.module.named_modules() if name.startswith("stem.0_part")]
    assert [layer.out_channels for layer in layers] == found


def test_after_the_default_passes_each_part_is_one_site(program: Program) -> None:
    single = trace(alive(Net()), (torch.randn(2, 3, 6, 6),))
    split = SplitFilters()(single).program
    compiled = run_passes(split, default_passes(target.load("x86_64")))
    assert "batch_norm" not in {op_of(node) for node in compiled.nodes}
    tails = {node.name: tail_of(module_of(node)) for node in compiled.nodes}
    for name in ("stem_0", "body_0", "fc"):
        for part in (f"{name}_part0", f"{name}_part1"):
            assert tails[part] == ("relu6" if name == "body_0" else "relu")
    sites = {site.name: site.candidates for site in search_space(compiled).sites}
    assert "int8" in sites["stem_0_part0"]
    assert "int8" in sites["stem_0_part1"]
    assert "int8" in sites["stem_0_cat"]


class Awkward(nn.Module):
    """What cannot be split."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped, self.small = nn.Conv2d(16, 16, 3, groups=2), nn.Conv2d(16, 15, 1)
        self.twice, self.tied, self.owner = (nn.Conv2d(16, 16, 1) for _ in range(3))
        self.tied.weight = self.owner.weight
        self.normed, self.norm, self.other = nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 1)
        self.computed = nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 1))
        self.read = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.tied(self.owner(self.twice(self.twice(x))))
        y = self.norm(self.normed(y)) + self.norm(self.other(y))
        y = self.small(self.computed(self.grouped(y)) @ self.read.weight[:14, :14])
        return y.sum() + self.read(x.mean((2, 3)))


def test_what_cannot_be_split_stays_with_the_reason() -> None:
    program = traced(Awkward(), (1, 16, 16, 16))
    result = SplitFilters()(program)
    assert result.changed == 0
    assert_identical(program, result.program)
    reasons = {note.site: note.reason.removeprefix("filters not split: ") for note in result.notes}
    assert reasons == {
        "grouped": "it has 2 groups",
        "small": "it has 15 of them, fewer than 16",
        "twice": "the weights of 'twice' are used in several places",
        "twice_1": "the weights of 'twice' are used in several places",
        "tied": "the weights of 'tied' are used in several places",
        "owner": "the weights of 'owner' are used in several places",
        "normed": "the weights of 'norm' are used in several places",
        "other": "the weights of 'norm' are used in several places",
        "computed": "its weight is computed from other parameters",
        "read": "the weights of 'read' are used in several places",
    }


def test_parts_are_not_split_again(program: Program) -> None:
    split = SplitFilters()(program).program
    again = SplitFilters(multiple=4)(split)
    assert {note.site: note.reason for note in again.notes}["stem_0_part1"] == "filters not split: it is a part already"
    assert names(again.program) == names(split)


def test_only_the_named_layers_are_split(program: Program) -> None:
    result = SplitFilters(sites=("plain", "last"))(program)
    assert result.changed == 1
    assert {node.name for node in result.program.nodes} - {node.name for node in program.nodes} == {
        "plain_part0", "plain_part1", "plain_cat",
    }  # fmt: skip
    assert [note.site for note in result.notes] == ["last"]
    with pytest.raises(InputError, match="no convolution or linear layer 'act' to split; take some of: stem_0, body_0"):
        SplitFilters(sites=("act",))(program)


@pytest.mark.parametrize("options", [{"parts": 1}, {"multiple": 0}])
def test_options_that_make_no_sense_are_refused(options: Mapping[str, int]) -> None:
    with pytest.raises(InputError, match="take at least 2 parts"):
        SplitFilters(**options)


def test_neighbours_of_one_scheme_are_merged(program: Program) -> None:
    split = SplitFilters(parts=4, sites=("stem_0", "body_0"))(program).program
    schemes = {"stem_0_part0": "int8", "stem_0_part1": "int8", "stem_0_part3": "int8", "stem_0_cat": "int8",
               "body_0_cat": "int8", "add": "int8"}  # fmt: skip
    merged = MergeFilters(same=schemes)(split)
    assert not merged.notes
    layers = [name for name in names(merged.program) if name.startswith(("stem_0", "body_0"))]
    assert layers == ["stem_0_part0", "stem_0_part2", "stem_0_part3", "stem_0_cat", "body_0"]
    assert merged.changed == 1 + 3
    assert_computes_the_same(program, merged.program)
    assert merged_names(split, schemes) == {
        "stem_0_part1": "stem_0_part0", **{f"body_0_part{index}": "body_0" for index in range(4)},
    }  # fmt: skip
    assert merged_assignment(split, schemes) == {
        "stem_0_part0": "int8", "stem_0_part3": "int8", "stem_0_cat": "int8", "add": "int8",
    }  # fmt: skip
    assert MergeFilters(same=merged_assignment(split, schemes))(merged.program).changed == 0
    assert_identical(program, MergeFilters()(merged.program).program)


def test_a_part_that_differs_is_not_merged(program: Program) -> None:
    split = SplitFilters(parts=3, sites=("stem_0",))(program).program
    split.module.get_submodule("stem.1_part1").eps = 0.5
    result = MergeFilters()(split)
    assert result.changed == 0
    assert [note.site for note in result.notes] == ["stem_0_part1", "stem_0_part2"]
    assert result.program.module.code == split.module.code


def test_concatenations_of_other_layers_are_left_alone() -> None:
    program = traced(NETWORKS["Inception"][0](), NETWORKS["Inception"][1])
    result = MergeFilters()(program)
    assert (result.changed, result.notes) == (0, ())
    assert_identical(program, result.program)


def test_a_split_network_trains_and_merges_with_what_it_learned(program: Program) -> None:
    program.module.get_submodule("body.0").bias.requires_grad_(False)
    split = SplitFilters(parts=3)(program).program
    module = split.module.train()
    assert not module.get_submodule("body.0_part1").bias.requires_grad
    optimiser = torch.optim.SGD([one for one in module.parameters() if one.requires_grad], 0.05)
    for _ in range(3):
        optimiser.zero_grad()
        F.cross_entropy(module(*program.example_inputs), torch.tensor([1, 3])).backward()
        optimiser.step()
    assert all(one.grad is not None for one in module.parameters() if one.requires_grad)
    merged = MergeFilters()(split).program
    assert names(merged) == names(program)
    assert not merged.module.get_submodule("body.0").bias.requires_grad
    assert merged.module.get_submodule("stem.1").training
    assert merged.module.get_submodule("stem.1").num_batches_tracked == 3
    assert not torch.equal(merged.module.get_submodule("stem.0").weight, program.module.get_submodule("stem.0").weight)
    assert_computes_the_same(split, merged)


def test_nothing_is_changed_in_the_argument(program: Program) -> None:
    before = copy.deepcopy(program)
    split = SplitFilters()(program).program
    assert_identical(before, program)
    before = copy.deepcopy(split)
    MergeFilters(same={"stem_0_part0": "int8"})(split)
    assert_identical(before, split)


def test_parts_are_width_groups_of_their_own(program: Program) -> None:
    split = SplitFilters()(program).program
    groups = width_groups(split)
    assert not groups.frozen or {note.site for note in groups.frozen} == {"last"}
    assert [(group.name, group.channels) for group in groups.groups] == [
        ("stem_0_part0", 16), ("stem_0_part1", 28), ("body_0_part0", 16), ("body_0_part1", 16), ("fc_part0", 8),
        ("fc_part1", 16),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["DenseNet", "Inception", "ResNeXt", "ShuffleNet", "UNet", "Transformer"])
def test_split_networks_lose_channels_like_any_other(name: str) -> None:
    program = traced(*_built(name))
    split = SplitFilters(multiple=2)(program).program
    groups = width_groups(split)
    assert len(groups.groups) > len(width_groups(program).groups)
    small = check_equal(split, groups, random_mask(groups, random.Random(name)))
    merged = MergeFilters()(small).program
    assert_computes_the_same(small, merged)
