"""Keys of kernels: they say everything that decides the speed, and can be read back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hwcomp.analysis import facts_of
from hwcomp.kernel import Kernel, Window, parse
from hwcomp.kernels import kernels_of
from hwcomp.passes.fuse_activation import FuseActivation
from hwcomp.passes.insert_quant_choices import InsertQuantChoices
from hwcomp.program import run_passes
from hwcomp.target import load
from hwcomp.tracing import trace

shapes = st.lists(st.integers(1, 4096), max_size=5).map(tuple)
pairs = st.tuples(st.integers(1, 9), st.integers(1, 9))
windows = st.builds(
    Window, size=pairs, stride=pairs, padding=st.tuples(st.integers(0, 4), st.integers(0, 4)), dilation=pairs,
    groups=st.integers(1, 64),
)  # fmt: skip
kernels = st.builds(
    Kernel,
    op=st.sampled_from(["conv2d", "add", "quantize"]),
    scheme=st.sampled_from(["float", "int8", "uint8"]),
    activation=st.sampled_from(["", "int8", "uint8"]),
    inputs=st.lists(shapes, max_size=3).map(tuple),
    output=st.none() | shapes,
    window=st.none() | windows,
    detail=st.sampled_from(["", "kernel_size=3, stride=2", "0 2 3 1"]),
    tail=st.sampled_from(["", "relu"]),
)


@given(kernels)
def test_keys_are_read_back(kernel: Kernel) -> None:
    assert parse(kernel.key) == kernel


@pytest.mark.parametrize(
    "key", ["", "conv2d", "conv2d|float|1x2>1x2|k3||", "a|b|1x2|||", "add|float|1xtwo>1|||", "add|float|01>1|||"]
)
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"not|invalid"):
        parse(key)


class Block(nn.Module):
    """Two convolutions of one shape with different tails, one depthwise, a transposition, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(8, 8, 3, padding="same")
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.three = nn.Conv2d(8, 8, 3, padding=1)
        self.wise = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.wise(self.three(self.two(torch.relu(self.one(x)))))
        return self.head(x.permute(0, 2, 3, 1))


def test_equal_work_has_equal_keys_and_the_facts_are_right() -> None:
    target = load("x86_64")
    program = run_passes(
        trace(Block(), (torch.zeros(1, 8, 6, 6),)), [FuseActivation(), InsertQuantChoices(target=target)]
    )
    found = kernels_of(program, target.activation)
    by_op = {site: {c: k.key for c, k in candidates.items()} for site, candidates in found.sites.items()}
    assert by_op["two"] == by_op["three"] != by_op["one"]
    assert found.sites["one"]["float"].tail == "relu"
    assert found.sites["two"]["int8"].activation == "uint8"
    assert found.sites["two"]["float"].activation == ""
    facts = {site: facts_of(candidates["float"]) for site, candidates in found.sites.items()}
    assert facts["two"].macs == 36 * 8 * 8 * 9
    assert facts["one"].weights == 8 * 8 * 9
    assert facts["wise"].depthwise
    assert facts["wise"].macs == 36 * 8 * 25
    assert facts["head"].macs == 36 * 8 * 4
    assert found.sites["permute"]["float"].detail == "0 2 3 1"
    assert all(parse(key).key == key for key in found.keys)
