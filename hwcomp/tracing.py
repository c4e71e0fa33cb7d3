"""nn.Module -> Program, in parts where a module cannot be traced whole.

The largest traceable sub-modules are traced; a module whose own forward depends on data stays an opaque leaf that is
called as it is, and is named with the reason.
"""

import copy
import operator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, fx, nn

from hwcomp.errors import InputError
from hwcomp.program import OPAQUE, Inputs, Note, Program, flatten, with_shapes

TRACE_ERRORS = (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError, KeyError)
"""What symbolic tracing raises when Python code looks at a value that is not there yet."""

OUT_OF_PLACE: dict[Any, Any] = {
    "relu_": "relu", "add_": "add", "mul_": "mul", "sub_": "sub", "div_": "div", "clamp_": "clamp",
    "sigmoid_": "sigmoid",
    torch.relu_: torch.relu, F.relu_: torch.relu, operator.iadd: operator.add, operator.imul: operator.mul,
}  # fmt: skip


class _Tracer(fx.Tracer):
    """Traces through everything but torch.nn's own modules and those known to be opaque."""

    def __init__(self, opaque: frozenset[nn.Module]) -> None:
        super().__init__(autowrap_functions=(len, int, float))
        self.opaque = opaque

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m in self.opaque or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example_inputs: Inputs) -> Program:
    """Trace a network.

    Args:
        model: the network; it is copied and put into eval mode, never changed.
        example_inputs: the positional arguments of its forward.

    Raises:
        InputError: the forward does not accept the example inputs, or does not return tensors.
    """
    model = copy.deepcopy(model).eval()
    expected = _run(model, tuple(x.clone() for x in example_inputs))
    reasons: dict[nn.Module, str] = {}
    graph = _trace_in_parts(model, reasons)
    if graph is None:
        graph = _call_whole(model, len(example_inputs))
        reasons[model] = reasons.get(model, "its forward depends on data")
        model = graph.owning_module or model
    _write_out_of_place(graph, model)
    module = fx.GraphModule(model, graph, class_name=type(model).__name__)
    program = with_shapes(Program(module=module, example_inputs=example_inputs))
    _check_same(expected, _run(module, example_inputs))
    names = {id(leaf): name for name, leaf in module.named_modules()}
    notes = tuple(
        Note(site=names[id(leaf)] or "model", reason=f"{OPAQUE}: {reason}")
        for leaf, reason in reasons.items()
        if id(leaf) in names
    )
    return Program(module=module, example_inputs=example_inputs, notes=notes + program.notes)


def _run(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    try:
        with torch.no_grad():
            result = flatten(model(*inputs))
    except Exception as error:
        shapes = ", ".join(f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}" for x in inputs)
        raise InputError(
            f"The model's forward does not accept the example inputs ({shapes}): {_first_line(error)}; "
            "make example_inputs a tuple of tensors as the forward takes them."
        ) from error
    if not result:
        raise InputError("The model's forward returns no tensor; return a tensor, or a tuple, list or dict of tensors.")
    return result


def _trace_in_parts(model: nn.Module, reasons: dict[nn.Module, str]) -> fx.Graph | None:
    """Return a module's graph, untraceable sub-modules as leaves; None if its own forward cannot be traced."""
    try:
        return _Tracer(frozenset(reasons)).trace(model)
    except TRACE_ERRORS as error:
        reason = _first_line(error)
    before = len(reasons)
    for child in model.children():
        if child not in reasons and not _is_library_leaf(child) and _trace_in_parts(child, reasons) is None:
            reasons.setdefault(child, "its forward depends on data")
    if len(reasons) == before:
        reasons[model] = reason
        return None
    try:
        return _Tracer(frozenset(reasons)).trace(model)
    except TRACE_ERRORS as error:
        reasons[model] = _first_line(error)
        return None


def _is_library_leaf(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, (nn.Sequential, nn.ModuleList))


def _call_whole(model: nn.Module, inputs: int) -> fx.Graph:
    """Return a graph that does nothing but call the model."""
    root = nn.Module()
    root.add_module("whole", model)
    graph = fx.Graph(owning_module=root)  # type: ignore[arg-type]
    arguments = tuple(graph.placeholder(f"input_{index}") for index in range(inputs))
    graph.output(graph.call_module("whole", arguments))
    return graph


def _write_out_of_place(graph: fx.Graph, root: nn.Module) -> None:
    """Replace operators that overwrite their input by ones that do not; later readers of the input read the result."""
    order = {node: position for position, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if not _overwrites(node, root):
            continue
        source = node.all_input_nodes[0]
        for user in list(source.users):
            if order[user] > order[node]:
                user.replace_input_with(source, node)
    for module in root.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]


def _overwrites(node: fx.Node, root: nn.Module) -> bool:
    """Return whether a node overwrites its first input, after making it write elsewhere."""
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
        return True
    if node.op == "call_method" and str(node.target) in OUT_OF_PLACE:
        node.target = OUT_OF_PLACE[str(node.target)]
        return True
    if node.op == "call_function" and node.target in OUT_OF_PLACE:
        node.target = OUT_OF_PLACE[node.target]
        return True
    return False


def _check_same(expected: tuple[Tensor, ...], actual: tuple[Tensor, ...]) -> None:
    for before, after in zip(expected, actual, strict=True):
        if not torch.allclose(before, after, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise InputError(
                "The traced graph computes something else than the model: its forward must be a function of its "
                "inputs alone (no random numbers, no state that changes between calls)."
            )


def _first_line(error: BaseException) -> str:
    text: Any = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
