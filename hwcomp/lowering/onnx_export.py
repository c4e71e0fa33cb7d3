"""Program -> float ONNX graph in which every node knows the site it came from.

Each node of the program becomes a module of its own before the export, so that the exporter's module scopes tell
the site. Nodes are named ``site/Operator`` and values ``site/...``; runtimes keep such names through their fusions.
"""

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import Tensor, fx, nn

from hwcomp.errors import InputError
from hwcomp.ops import Function, filled, module_of, template_of
from hwcomp.program import OPAQUE, Inputs, Program

OPSET = 20
WHOLE_ATTENTION_OPSET = 23
"""The first one in which an attention is one operator."""

SCOPES = "pkg.torch.onnx.name_scopes"
SITE = "hwcomp.site"
"""Metadata key of an ONNX node: the name of the program's node that it computes a part of."""


def export_float(program: Program) -> ir.Model:
    """Export a program in float; choices compute in float.

    Raises:
        InputError: an opaque module can be neither exported nor scripted; it is named with the reason.
    """
    model = _export(_isolate(program), program.example_inputs, opaque_sites(program))
    _mark_sites(model)
    _pool_globally(model)
    _rename_ends(model.graph, [node.name for node in program.nodes if node.op == "placeholder"])
    _rename_inside(model.graph)
    return model


def export_plain(
    model: nn.Module, inputs: Inputs, names: Sequence[str], opaque: Sequence[str] = (), opset: int = OPSET
) -> ir.Model:
    """Export a module as PyTorch's exporter gives it: the float baseline that everything is measured against.

    Its inputs get the given names and its outputs those of `export_float`, so that both are fed alike. ``opaque`` names
    modules that only TorchScript can express.
    """
    exported = _export(model, inputs, opaque, opset)
    _rename_ends(exported.graph, names)
    return exported


def opaque_sites(program: Program) -> list[str]:
    """Return the modules of a program that could not be traced."""
    return [note.site for note in program.notes if note.reason.startswith(OPAQUE)]


class _Step(nn.Module):
    """One node of the program, so that the exporter gives it a scope of its own."""

    def __init__(self, node: fx.Node) -> None:
        super().__init__()
        module = module_of(node)
        self.op = Function(node) if module is None else module
        self.template = None if module is None else template_of(node)

    def forward(self, *inputs: Tensor) -> Tensor:
        args, kwargs = (inputs, {}) if self.template is None else filled(self.template, inputs)
        result: Tensor = self.op(*args, **kwargs)
        return result


def _isolate(program: Program) -> fx.GraphModule:
    source = program.module
    root = nn.Module()
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in program.nodes:
        if node.op.startswith("call_"):
            root.add_module(node.name, _Step(node))
            made[node] = graph.create_node(
                "call_module", node.name, tuple(made[x] for x in node.all_input_nodes), {}, name=node.name
            )
        else:
            made[node] = graph.node_copy(node, lambda old: made[old])
            if node.op == "get_attr":
                _copy_attribute(source, root, str(node.target))
    return fx.GraphModule(root, graph)


def _copy_attribute(source: nn.Module, root: nn.Module, path: str) -> None:
    *parents, last = path.split(".")
    for name in parents:
        source = source.get_submodule(name)
        if not hasattr(root, name):
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    setattr(root, last, getattr(source, last))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns about libraries that hwcomp does not use and prints graphs that it gives up."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        nowhere = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(nowhere),
            contextlib.redirect_stdout(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _export(model: nn.Module, inputs: Inputs, opaque: Sequence[str], opset: int = OPSET) -> ir.Model:
    """Export by `torch.export`, or with TorchScript where a module is opaque or the first way fails."""
    with _quiet():
        if opaque:
            return _export_scripted(model, inputs, opaque, None)
        try:
            exported = torch.onnx.export(model.eval(), inputs, dynamo=True, opset_version=opset, verbose=False)
        except Exception as error:  # noqa: BLE001 - the exporter raises anything; TorchScript is tried next
            return _export_scripted(model, inputs, opaque, error)
    assert exported is not None
    return ir.from_proto(exported.model_proto)


def _export_scripted(model: nn.Module, inputs: Inputs, opaque: Sequence[str], cause: Exception | None) -> ir.Model:
    """Export with TorchScript, which can express data-dependent control flow of modules that `torch.export` cannot."""
    buffer = io.BytesIO()
    try:
        scripted = _script_opaque(model)
        traced: Any = torch.jit.trace(scripted, inputs, check_trace=False)  # type: ignore[no-untyped-call]
        torch.onnx.export(traced, inputs, cast("Any", buffer), dynamo=False, opset_version=OPSET)
    except Exception as error:  # noqa: BLE001 - the exporter raises anything
        named = f" (opaque: {', '.join(opaque)})" if opaque else ""
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"The model cannot be exported to ONNX{named}: {first}. Move the part that depends on data out of the "
            "model, or write it so that torch.jit.script accepts it."
        ) from cause
    return ir.from_proto(onnx.load_from_string(buffer.getvalue()))


def _script_opaque(model: nn.Module) -> nn.Module:
    """Return the isolated module with every user-defined step scripted instead of traced."""
    if not isinstance(model, fx.GraphModule):
        return torch.jit.script(model)
    for step in model.children():
        if isinstance(step, _Step) and not _is_library(step.op):
            step.op = torch.jit.script(step.op)
    return model


def _is_library(module: nn.Module) -> bool:
    return type(module).__module__.split(".")[0] in ("torch", "hwcomp")


def _mark_sites(model: ir.Model) -> None:
    for node in model.graph:
        scopes = node.metadata_props.get(SCOPES)
        if scopes is not None:
            named = [scope for scope in ast.literal_eval(scopes) if scope]
            node.metadata_props[SITE] = named[0] if len(named) > 1 else "model"
        else:
            parts = (node.name or "").split("/")
            node.metadata_props[SITE] = parts[1] if len(parts) > 2 else "model"


def _pool_globally(model: ir.Model) -> None:
    """Replace the mean over an image by GlobalAveragePool, which has blocked-layout and integer kernels."""
    for node in list(model.graph):
        if node.op_type != "ReduceMean" or len(node.inputs) < 2:
            continue
        source, axes = node.inputs[0], node.inputs[1]
        keeps = node.attributes.get("keepdims")
        constant = axes.const_value if axes is not None else None
        if source is None or source.shape is None or constant is None or (keeps is not None and not keeps.as_int()):
            continue
        if len(source.shape) == 4 and sorted(int(axis) % 4 for axis in np.atleast_1d(constant.numpy())) == [2, 3]:
            pooled = ir.node("GlobalAveragePool", [source], metadata_props=dict(node.metadata_props))
            replace_node(model.graph, node, pooled)


def replace_node(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    """Put a node of one output in another's place, with the type and shape of its output."""
    before, after = old.outputs[0], new.outputs[0]
    after.name, after.shape, after.type = before.name, before.shape, before.type
    graph.insert_before(old, new)
    before.replace_all_uses_with(after, replace_graph_outputs=True)
    graph.remove(old, safe=True)


def _rename_ends(graph: ir.Graph, inputs: Sequence[str]) -> None:
    """Name the graph's inputs as asked and its outputs "output", or "output_0", "output_1" and so on."""
    for value in (value for node in graph for value in node.outputs):
        if value.name in inputs or str(value.name).startswith("output"):
            value.name = f"{value.name}_inside"
    for value, name in zip(graph.inputs, inputs, strict=True):
        value.name = name
    for index, value in enumerate(graph.outputs):
        value.name = "output" if len(graph.outputs) == 1 else f"output_{index}"


def _rename_inside(graph: ir.Graph) -> None:
    """Name nodes and values after their sites."""
    counts: dict[str, int] = {}
    for node in graph:
        site = node.metadata_props[SITE]
        index = counts[site] = counts.get(site, -1) + 1
        node.name = f"{site}/{node.op_type}" if index == 0 else f"{site}/{node.op_type}_{index}"
        for position, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = f"{node.name}:{position}"


def tensor_values(model: ir.Model) -> dict[str, ir.Value]:
    """Return the ONNX value that holds each node's tensor, by node name; nodes that vanished have none."""
    values = {str(value.name): value for value in model.graph.inputs}
    for node in model.graph:
        site = node.metadata_props[SITE]
        for value in node.outputs:
            leaves = value.is_graph_output() or any(use.node.metadata_props.get(SITE) != site for use in value.uses())
            if leaves:
                values[site] = value
    return values
