"""Layers whose weights have zeros are offered the kernel that leaves out most work, and no other layer is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hwcomp.choice import Choice
from hwcomp.kernel import parse
from hwcomp.kernels import kernels_of
from hwcomp.passes.find_sparse_weights import FindSparseWeights, scheme_of
from hwcomp.program import Program
from hwcomp.scheme import sparse_of
from hwcomp.sparsity import pattern_mask
from hwcomp.target import Gpu, load
from hwcomp.tracing import trace


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocked = nn.Conv2d(16, 32, 3, padding=1)
        self.single = nn.Conv2d(32, 32, 1)
        self.dense = nn.Conv2d(32, 32, 1)
        self.wide = nn.Conv2d(32, 32, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=2)
        self.fc = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.blocked, self.single, self.dense, self.wide, self.grouped):
            x = layer(x)
        return self.fc(x.mean((2, 3)))


def pruned() -> Program:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for layer in (net.blocked, net.wide, net.grouped, net.fc):
            layer.weight *= (torch.rand(len(layer.weight) // 4, *layer.weight.shape[1:]) < 0.1).repeat_interleave(4, 0)
        net.single.weight *= torch.rand(net.single.weight.shape) < 0.1
    return trace(net, (torch.randn(1, 16, 8, 8),))


def test_only_layers_with_zeros_and_a_kernel_are_offered_one() -> None:
    result = FindSparseWeights(target=load("x86_64"))(pruned())
    offered = {
        node.name: module.candidates[1:]
        for node in result.program.nodes
        if node.op == "call_module" and isinstance(module := result.program.module.get_submodule(node.target), Choice)
    }
    assert set(offered) == {"blocked", "single"}
    assert offered["blocked"][0].startswith("sparse4x1:0.1")
    assert offered["single"][0].startswith("sparse:0.1")
    assert {note.site: note.reason for note in result.notes} == {
        "wide": "computes with its zeros: it is dilated",
        "grouped": "computes with its zeros: its channels are in 2 groups",
        "fc": "computes with its zeros: a linear layer over single vectors has no tokens to compute side by side",
    }


def notes_on(gpu: Gpu | None, program: Program) -> dict[str, str]:
    result = FindSparseWeights(target=load("nvidia_h200").model_copy(update={"gpu": gpu}))(program)
    assert not result.changed
    return {note.site: note.reason for note in result.notes}


def test_gpus_leave_out_two_of_four_or_nothing() -> None:
    """Whatever becomes of a layer's zeros there is said; the graph stays as it is."""
    gpu, program = load("nvidia_h200").gpu, pruned()
    assert gpu is not None
    elsewhere = notes_on(gpu, program)
    assert {"blocked", "wide", "grouped", "single", "fc"} <= set(elsewhere)
    assert "prune to 2of4" in elsewhere["blocked"]
    weight = program.module.get_submodule("wide").weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        weight.copy_(torch.ones_like(weight))
        weight[:, ::4] = weight[:, 3::4] = 0
    assert "where TensorRT's version is taken, it may leave out its zeros" in notes_on(gpu, program)["wide"]
    assert "T4 leave out none" in notes_on(load("nvidia_t4").gpu, program)["wide"]
    with torch.no_grad():
        weight[0, 0] = 1  # three of four now
    assert "prune to 2of4" in notes_on(gpu, program)["wide"]


def test_the_key_of_a_sparse_kernel_is_read_back() -> None:
    program = FindSparseWeights(target=load("x86_64"))(pruned()).program
    kernel = next(k for k in kernels_of(program, "uint8").sites["blocked"].values() if k.scheme != "float")
    assert parse(kernel.key) == kernel


@given(st.integers(0, 2**16), st.floats(0.02, 1.0), st.sampled_from([1, 4]), st.integers(3, 21))
def test_the_scheme_keeps_every_weight_that_is_not_zero(seed: int, density: float, rows: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(-(-outputs // rows), 12, 3, 3, generator=generator) < density
    weight = torch.randn(outputs, 12, 3, 3, generator=generator) * kept.repeat_interleave(rows, 0)[:outputs]
    found = scheme_of(weight)
    assert sparse_of(str(found)) == found
    assert torch.equal(weight * pattern_mask(weight, found), weight)


@pytest.mark.parametrize(("rows", "expected"), [(4, 4), (8, 4), (1, 1)])
def test_zeros_in_blocks_are_told_from_single_ones(rows: int, expected: int) -> None:
    torch.manual_seed(1)
    weight = torch.randn(32, 32, 1, 1) * (torch.rand(32 // rows, 32, 1, 1) < 0.2).repeat_interleave(rows, 0)
    assert scheme_of(weight).rows == expected


def test_latencies_of_other_kernels_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    program = FindSparseWeights(target=load("x86_64"))(pruned()).program
    before = kernels_of(program, "uint8").keys
    monkeypatch.setattr("hwcomp.kernels.kernels_version", lambda: "other")
    changed = before - kernels_of(program, "uint8").keys
    assert {parse(key).scheme.partition(":")[0] for key in changed} == {"sparse4x1", "sparse"}


def test_without_a_compiler_zeros_are_computed_with_and_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    result = FindSparseWeights(target=load("arm_cortex_a72"))(pruned())
    assert not result.changed
    assert "gcc-aarch64-linux-gnu" in next(note.reason for note in result.notes if note.site == "blocked")
