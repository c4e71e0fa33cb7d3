"""The graph that passes transform, and the runner that checks every pass."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, fx
from torch.fx.passes.shape_prop import ShapeProp

from hwcomp.errors import PassError

Inputs = tuple[Tensor, ...]

OPAQUE = "left opaque"
"""How the reason of a module begins that could not be traced."""

EQUAL_TOLERANCE = 1e-4
"""Largest difference, relative to the largest output, that counts as the same function in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Why something was done, or left, at one place of the graph."""

    site: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A traced network: leaf modules stay modules, so it still trains.

    Attributes:
        module: the graph; every node that holds a tensor has its shape in ``meta["tensor_meta"]``.
        example_inputs: what it was traced with; batch and image size are fixed by them.
        notes: what stayed opaque or was declined so far, with reasons.
    """

    module: fx.GraphModule
    example_inputs: Inputs
    notes: tuple[Note, ...] = ()

    @property
    def nodes(self) -> tuple[fx.Node, ...]:
        """The nodes in execution order."""
        return tuple(self.module.graph.nodes)

    def fork(self) -> "Program":
        """Return a program with its own graph and the same leaf modules: edit it freely, but never a leaf in place."""
        graph = fx.Graph()
        values: dict[fx.Node, fx.Node] = {}
        output = graph.graph_copy(self.module.graph, values)
        graph.output(output)
        return replace(self, module=fx.GraphModule(self.module, graph))


@dataclass(frozen=True, kw_only=True, slots=True)
class PassResult:
    """What a pass returns: a new program, how many places it changed, and where it declined."""

    program: Program
    changed: int
    notes: tuple[Note, ...] = ()


@runtime_checkable
class Pass(Protocol):
    """A graph transformation: a frozen dataclass whose fields are its options.

    It never changes its argument. ``preserves`` promises that the outputs stay equal in float arithmetic.
    """

    @property
    def preserves(self) -> bool:
        """Whether outputs stay equal up to rounding."""
        ...

    def __call__(self, program: Program) -> PassResult:
        """Return the transformed program."""
        ...


def fresh_name(module: fx.GraphModule, base: str) -> str:
    """Return a name for a new sub-module: the base, or with a number where something has that name already."""
    name, number = base, 0
    while hasattr(module, name):
        number += 1
        name = f"{base}_{number}"
    return name


def with_shapes(program: Program) -> Program:
    """Return the program after recording the shape of every node in its meta (the graph's own, not a copy).

    It runs in eval mode, so that no statistics move; each module's mode stays.
    """
    training = [module for module in program.module.modules() if module.training]
    program.module.eval()
    try:
        with torch.no_grad():
            ShapeProp(program.module).propagate(*program.example_inputs)
    finally:
        for module in training:
            module.training = True
    return program


def finish(program: Program) -> Program:
    """Tidy a graph that a pass has edited: drop dead nodes, regenerate the code, record shapes."""
    program.module.graph.eliminate_dead_code()
    program.module.delete_all_unused_submodules()
    program.module.recompile()
    return with_shapes(program)


def outputs(program: Program) -> tuple[Tensor, ...]:
    """Run the program on its example inputs and return its outputs as a flat tuple."""
    with torch.no_grad():
        return flatten(program.module(*program.example_inputs))


def flatten(result: object) -> tuple[Tensor, ...]:
    """Return the tensors in a network's result (a tensor, or nested tuples, lists and dicts of them), in order."""
    if isinstance(result, Tensor):
        return (result,)
    if isinstance(result, dict):
        return flatten(tuple(result.values()))
    if isinstance(result, (tuple, list)):
        return tuple(tensor for item in result for tensor in flatten(item))
    return ()


def run_passes(program: Program, passes: Sequence[Pass]) -> Program:
    """Apply passes in order and verify the program after each.

    Raises:
        PassError: a pass left a broken graph, or changed the outputs though it promised not to.
    """
    expected = outputs(program)
    done: list[str] = []
    for transform in passes:
        name = type(transform).__name__
        try:
            result = transform(program)
            result.program.module.graph.lint()
            actual = outputs(result.program)
        except Exception as error:
            raise PassError(f"{name} (after {', '.join(done) or 'no pass'}) broke the graph: {error}") from error
        if transform.preserves:
            _check_equal(expected, actual, name, done)
        expected = actual
        program = replace(result.program, notes=program.notes + result.notes)
        done.append(name)
    return program


def _check_equal(expected: tuple[Tensor, ...], actual: tuple[Tensor, ...], name: str, done: list[str]) -> None:
    for before, after in zip(expected, actual, strict=True):
        if before.shape != after.shape:
            found = f"shape {tuple(after.shape)} instead of {tuple(before.shape)}"
            raise PassError(f"{name} (after {', '.join(done) or 'no pass'}) changed an output: {found}.")
        scale = before.abs().max().clamp_min(1e-6)
        difference = float((before - after).abs().max() / scale) if before.numel() else 0.0
        if not difference <= EQUAL_TOLERANCE:
            raise PassError(
                f"{name} (after {', '.join(done) or 'no pass'}) changed an output by {difference:.2g} of its range, "
                f"more than {EQUAL_TOLERANCE:g}."
            )
