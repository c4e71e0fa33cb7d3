"""What every pass must keep; a new file in the folder is tested without editing this one."""

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from hwcomp import target
from hwcomp.default_passes import default_passes
from hwcomp.plugins import load, names
from hwcomp.program import Pass, PassResult, Program, outputs, run_passes
from hwcomp.tracing import trace

PASSES = names("hwcomp.passes")
TARGET = target.load("x86_64")


def make_pass(name: str, *batches: tuple[Tensor, ...]) -> Pass:
    cls = load("hwcomp.passes", name, "PASS")
    given = {"target": TARGET, "batches": batches, "multiple": 4}
    transform: Pass = cls(**{field.name: given[field.name] for field in dataclasses.fields(cls) if field.name in given})
    return transform


def program_of(model: nn.Module, *inputs: Tensor) -> Program:
    return trace(model.eval(), inputs)


def snapshot(program: Program) -> tuple[Any, ...]:
    """Everything of a program that a pass could change."""
    modules = {path: type(module) for path, module in program.module.named_modules()}
    weights = {key: value.clone() for key, value in program.module.state_dict().items()}
    graph = [(node.name, node.op, str(node.target), str(node.args), str(node.kwargs)) for node in program.nodes]
    return program.module.code, graph, modules, weights, outputs(program)


def assert_same(before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
    assert after[:3] == before[:3]
    assert after[3].keys() == before[3].keys()
    assert all(torch.equal(after[3][key], value) for key, value in before[3].items())
    assert all(torch.equal(a, b) for a, b in zip(before[4], after[4], strict=True))


def starting_points(program: Program) -> Iterator[Program]:
    """A network as traced, after every prefix of the default flow, and after every pass alone."""
    flow = default_passes(TARGET)
    for count in range(len(flow) + 1):
        yield run_passes(program, flow[:count])
    for name in PASSES:
        yield make_pass(name, program.example_inputs)(program).program


class Awkward(nn.Module):
    """Where passes must decline: a BatchNorm without its convolution, one output read twice, constants, reflections."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.BatchNorm2d(3), nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        self.pool = nn.AdaptiveAvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.first(x))
        z = F.hardswish(y) + self.norm(y) + 1.0
        return torch.sigmoid(self.pool(z) * 2.0)


class Shared(nn.Module):
    """One convolution called twice, with different followers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.running_mean, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(self.conv(x)).relu())


class SharedRelu(Shared):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x).relu())


class Clash(nn.Module):
    """Modules whose names are those that the tracer gives to other nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.add, self.mul, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1), nn.Conv2d(3, 3, 1)
        self.conv_1 = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mul(self.add(x + torch.sigmoid(x)) * 2.0)
        return self.conv_1(self.conv(self.conv(y)))


AWKWARD = {"awkward": Awkward, "shared": Shared, "shared_relu": SharedRelu, "clash": Clash}


def check(name: str, program: Program) -> PassResult:
    """Apply a pass and check all that it promises."""
    transform, before = make_pass(name, program.example_inputs), snapshot(program)
    result = transform(program)
    assert_same(before, snapshot(program))
    result.program.module.graph.lint()
    if transform.preserves:
        for a, b in zip(before[4], outputs(result.program), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)
    for node in result.program.nodes:
        assert "tensor_meta" in node.meta or node.op == "output", f"{node} has no shape"
    changed_nothing = result.changed == 0
    assert not changed_nothing or [n.op for n in result.program.nodes] == [n.op for n in program.nodes]
    again = transform(result.program)
    assert again.changed == 0, "a second application changes something"
    assert again.program.module.code == result.program.module.code
    known = {node.name for node in program.nodes}
    for note in result.notes:
        assert note.site in known
        assert len(note.reason.split()) >= 3, f"no reason: {note.reason!r}"
    return result


def test_there_are_passes() -> None:
    assert PASSES


@pytest.mark.parametrize("name", PASSES)
def test_the_file_holds_a_pass_of_its_name(name: str) -> None:
    cls = load("hwcomp.passes", name, "PASS")
    module = inspect.getmodule(cls)
    assert module is not None
    assert cls.__name__ == "".join(part.capitalize() for part in name.split("_"))
    assert inspect.getsource(module).rstrip().splitlines()[-1] == f"PASS = {cls.__name__}"
    assert isinstance(make_pass(name), Pass)


@pytest.mark.parametrize("name", PASSES)
def test_it_is_a_frozen_dataclass_that_shows_before_and_after(name: str) -> None:
    cls = load("hwcomp.passes", name, "PASS")
    assert dataclasses.is_dataclass(cls)
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_pass(name).preserves = False  # type: ignore[misc]
    assert "Before" in (cls.__doc__ or "")
    assert "after" in (cls.__doc__ or "")


@pytest.mark.parametrize("name", PASSES)
def test_it_keeps_its_promises_on_every_network(name: str, network) -> None:
    for program in starting_points(trace(network.model, network.inputs)):
        check(name, program)


@pytest.mark.parametrize("kind", AWKWARD)
@pytest.mark.parametrize("name", PASSES)
def test_it_keeps_its_promises_on_awkward_networks(name: str, kind: str) -> None:
    check(name, program_of(AWKWARD[kind](), torch.randn(1, 3, 6, 6)))


def test_some_pass_declines_on_the_awkward_network() -> None:
    """Otherwise the check of reasons above would be empty."""
    program = program_of(Awkward(), torch.randn(1, 3, 6, 6))
    notes = [note for name in PASSES for note in make_pass(name, program.example_inputs)(program).notes]
    assert {note.site for note in notes} >= {"first", "norm", "conv", "pool", "hardswish"}


def with_zeros(network: Any) -> Any:
    """The network after most weights of its convolutions were made zero."""
    with torch.no_grad():
        for module in network.model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight[:, 1::2] = 0
                module.weight[:, ::2, 1:] = 0
    return network


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_leaves_its_mark_somewhere(name: str, make_network) -> None:
    """A pass that never changes anything on these networks is not tested by them."""
    networks = [make_network(n) for n in ("chain", "residual", "attention")] + [with_zeros(make_network("residual"))]
    programs = (one for network in networks for one in starting_points(trace(network.model, network.inputs)))
    assert any(make_pass(name, program.example_inputs)(program).changed for program in programs)


@pytest.mark.parametrize("name", PASSES)
def test_the_network_still_trains(name: str, make_network) -> None:
    """Weights stay parameters that gradients reach."""
    network = make_network("residual")
    result = make_pass(name, network.inputs)(trace(network.model, network.inputs)).program.module
    result(*network.inputs).square().sum().backward()
    weights = [p for key, p in result.named_parameters() if key.endswith("weight")]
    assert weights
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in weights)
