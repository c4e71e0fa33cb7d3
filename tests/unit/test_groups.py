"""What has to be removed together, and what stays and why."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import NETWORKS, example
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.groups import Groups, Member, width_groups
from hwcomp.tracing import trace


def groups_of(name: str) -> Groups:
    build, shape = NETWORKS[name]
    return width_groups(trace(build(), (torch.randn(shape),)))


def member(groups: Groups, group: str, path: str, axis: int = 0) -> Member:
    (found,) = [one for one in groups[group].members if one.path == path and one.axis == axis]
    return found


def widths(groups: Groups) -> dict[str, int]:
    return {group.name: group.channels for group in groups.groups}


class Net(nn.Module):
    """Layers, and a function that calls them."""

    def __init__(self, function: Callable[["Net", Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def found(function: Callable[[Net, Tensor], Tensor], *shape: int, **layers: nn.Module) -> Groups:
    return width_groups(trace(Net(function, **layers), (torch.randn(shape or (2, 3, 8, 8)),)))


def reason(groups: Groups, site: str) -> str:
    (note,) = [note for note in groups.frozen if note.site == site]
    return note.reason


def test_a_stage_of_residual_blocks_is_one_group() -> None:
    groups = width_groups(trace(example("resnet", "resnet18"), (torch.randn(1, 3, 32, 32),)))
    makers = [one.module for one in groups["stem_0_0"].members if one.role == "makes"]
    assert makers == ["stem.0.0", "blocks.0.branch.2.0", "blocks.1.branch.2.0"]
    readers = [one.module for one in groups["stem_0_0"].members if one.role == "reads"]
    assert readers == ["blocks.0.branch.0.0", "blocks.1.branch.0.0", "blocks.2.branch.0.0", "blocks.2.shortcut.0"]
    assert len(groups.groups) == 12


def test_readers_of_a_concatenation_know_where_each_part_stands() -> None:
    groups = groups_of("DenseNet")
    assert member(groups, "layers_0_2", "transition.0.weight").index == ((8,), (9,), (10,), (11,))
    assert member(groups, "layers_0_2", "transition.2.weight", 1).role == "reads"
    assert member(groups, "layers_2_2", "transition.2.weight", 1).index[0] == (16,)


def test_a_flattened_image_is_read_by_all_its_pixels() -> None:
    assert member(groups_of("Inception"), "squeeze_0_0", "head.1.weight", 1).index[2] == (8, 9, 10, 11)


def test_groups_of_a_convolution_stay_of_one_size() -> None:
    groups = groups_of("ResNeXt")
    assert member(groups, "reduce_0", "reduce.0.weight").index[1] == (1, 4, 7, 10)
    assert member(groups, "reduce_0", "grouped.0.weight", 1).index == ((0,), (1,), (2,))
    assert member(groups, "grouped_0", "grouped.0.weight").index[0] == (0, 4, 8, 12)
    assert member(groups, "grouped_0", "excite.bias").index[0] == (0, 4, 8, 12)
    assert member(groups, "stem_0", "stem.1.weight").index[0] == (0, 4)


def test_depthwise_filters_follow_their_channel() -> None:
    groups = found(
        lambda n, x: n.last(n.wise(n.first(x))),
        first=nn.Conv2d(3, 4, 1), wise=nn.Conv2d(4, 8, 3, groups=4), last=nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    assert member(groups, "first", "wise.weight").index == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert member(groups, "first", "wise.weight").role == "makes"
    assert member(groups, "first", "last.weight", 1).index[3] == (6, 7)


def test_whole_heads_are_removed() -> None:
    groups = groups_of("Windows")
    assert groups["qkv"].channels == 3
    assert member(groups, "qkv", "qkv.weight").index[1] == (4, 5, 6, 7, 16, 17, 18, 19, 28, 29, 30, 31)
    assert member(groups, "qkv", "proj.weight", 1).index[1] == (4, 5, 6, 7)
    assert member(groups, "qkv", "table", 1).index == ((0,), (1,), (2,))
    assert {one.module for one in groups_of("Transformer")["attention_q"].members if one.role == "makes"} == {
        "attention.q", "attention.k", "attention.v",
    }  # fmt: skip


def test_bare_parameters_are_members() -> None:
    groups = groups_of("Transformer")
    token = member(groups, "patches", "token", 2)
    assert (token.module, token.tensor, token.role) == ("token", "", "scales")
    assert member(groups, "patches", "position", 2).index[7] == (7,)
    assert member(groups, "attention_q", "attention.bias").index == ((0,), (1,), (2,), (3,))


def test_halves_that_part_are_groups_apart() -> None:
    """Otherwise all channels of one half could be removed, and the layer that reads it would have no input."""
    groups = found(
        lambda n, x: n.last(torch.cat((F.relu(n.first(x)[:, :3]), torch.sigmoid(n.first(x)[:, 3:])), 1)),
        first=nn.Conv2d(3, 8, 1), last=nn.Conv2d(8, 4, 1),
    )  # fmt: skip
    assert widths(groups) == {"first": 3, "first_2": 5}
    groups = groups_of("NonLocal")
    assert [widths(groups)[name] for name in ("stem_0", "stem_0_1", "stem_0_2")] == [4, 4, 4]


def test_what_stays_says_why() -> None:
    groups = groups_of("Gates")
    assert reason(groups, "last") == "the network gives it as an output"
    assert reason(groups, "fourth") == "softmax runs over the channels in softmax"
    assert reason(groups, "pixels") == "mul broadcasts it over other channels"
    assert reason(groups_of("Mixer"), "tokens1") == "tokens1 mixes positions, not channels"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda n, x: n.last(n.first(x) + x), "add combines it with a tensor of fixed width"),
        (lambda n, x: n.last(x * n.first(x)), "mul combines it with a tensor of fixed width"),
        (lambda n, x: n.last(n.first(x).mean(1, keepdim=True).expand(-1, 3, -1, -1)), "mean runs over the channels"),
        (lambda n, x: n.last(F.normalize(n.first(x))), "normalize runs over the channels"),
        (lambda n, x: n.last(n.first(x).cumsum(1)), "cumsum runs over the channels"),
        (lambda n, x: n.last(n.first(x).roll(1, 1)), "roll rotates its channels"),
        (lambda n, x: n.last(torch.cat((n.first(x)[:, ::2], x[:, 2:]), 1)), "takes its channels in steps of 2"),
        (lambda n, x: n.last(F.local_response_norm(n.first(x), 2)), r"local_response_norm.* is not understood"),
        (lambda n, x: n.last(n.first(x)[:, [2, 1, 0]]), "picks its channels by number"),
        (lambda n, x: n.last(n.first(x)) + n.first(x).amax(), "add broadcasts it over other channels"),
        (lambda n, x: n.last(n.first(x)[:, x[0, 0, 0, :3].long() * 0]), "it is indexed by a tensor that is not known"),
        (lambda n, x: n.last(torch.fft.fft(n.first(x), dim=2).real), "is not understood"),
        (lambda n, x: n.last(n.first(x).repeat_interleave((x[0, 0, 0] * 0 + 1).int(), dim=2)), "depends on a tensor"),
    ],
    ids=[
        "input",
        "gate",
        "mean",
        "normalize",
        "cumsum",
        "roll",
        "step",
        "lrn",
        "list",
        "amax",
        "index",
        "fft",
        "repeats",
    ],
)
def test_channels_that_something_else_depends_on_stay(function: Callable[[Net, Tensor], Tensor], said: str) -> None:
    groups = found(function, first=nn.Conv2d(3, 3, 1), last=nn.Conv2d(3, 2, 1))
    assert "first" not in widths(groups)
    assert re.search(said, reason(groups, "first"))


def test_a_shuffle_ties_the_fewest_channels() -> None:
    assert widths(groups_of("ShuffleNet")) == {
        "stem_0": 3, "stem_0_1": 3, "stem_0_2": 6, "units_0_branch_0_0": 6, "units_1_branch_0_0": 6, "last_0": 10,
    }  # fmt: skip


def test_channels_beside_fixed_ones_of_another_group_stay() -> None:
    groups = found(
        lambda n, x: n.last(n.grouped(torch.cat((x, n.first(x)), 1))),
        first=nn.Conv2d(3, 3, 1), grouped=nn.Conv2d(6, 4, 1, groups=2), last=nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    assert widths(groups) == {"grouped": 2}
    assert reason(groups, "first") == "grouped has groups of one size, and some of its channels stay"


def test_layers_whose_weight_is_computed_stay() -> None:
    groups = found(
        lambda n, x: n.last(n.normed(n.first(x))),
        first=nn.Conv2d(3, 4, 1), normed=nn.utils.spectral_norm(nn.Conv2d(4, 5, 1)), last=nn.Conv2d(5, 2, 1),
    )  # fmt: skip
    assert widths(groups) == {}
    assert reason(groups, "first") == "normed (Conv2d) is not understood: its weight is computed from other parameters"


class Opaque(nn.Module):
    """Its flow depends on data."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() > 0 else x


def test_what_an_opaque_module_reads_and_makes_stays() -> None:
    groups = found(
        lambda n, x: n.last(n.second(n.opaque(n.first(x)))),
        first=nn.Conv2d(3, 4, 1), opaque=Opaque(), second=nn.Conv2d(4, 6, 1), last=nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    assert widths(groups) == {"second": 6}
    assert reason(groups, "first") == "opaque (Opaque) is not understood"


def test_weights_that_are_also_used_as_they_are_stay() -> None:
    groups = found(
        lambda n, x: F.linear(n.second(F.relu(n.first(x))), n.first.weight),
        4, 6, first=nn.Linear(6, 8), second=nn.Linear(8, 6),
    )  # fmt: skip
    assert widths(groups) == {}


def test_a_layer_that_reads_inputs_too_keeps_its_columns() -> None:
    groups = found(lambda n, x: n.last(n.twice(F.relu(n.twice(x)))), twice=nn.Conv2d(3, 3, 1), last=nn.Conv2d(3, 2, 1))
    assert widths(groups) == {}
    assert "twice reads fixed channels with the same weights" in reason(groups, "twice")


def test_every_entry_of_a_group_is_listed_once() -> None:
    for name in sorted(NETWORKS):
        groups = groups_of(name)
        assert len({group.name for group in groups.groups}) == len(groups.groups)
        for group in groups.groups:
            assert group.channels > 1
            assert any(one.role == "makes" for one in group.members)
            for one in group.members:
                entries = [entry for row in one.index for entry in row]
                assert len(one.index) == group.channels
                assert len(set(entries)) == len(entries)


def test_the_same_program_has_the_same_groups() -> None:
    build, shape = NETWORKS["ShuffleNet"]
    program = trace(build(), (torch.randn(shape),))
    assert width_groups(program).groups == width_groups(program).groups


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(InputError, match="no width group 'stam'; take one of: down1_0, down2_0"):
        groups_of("UNet")["stam"]
