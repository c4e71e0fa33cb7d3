"""Walks a program with shadows in place of tensors and writes down what it learns about channels."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, fx
from torch.fx.passes.shape_prop import TensorMetadata

from hwcomp.errors import UnknownOperatorError
from hwcomp.groups.call import Call, tensors_in
from hwcomp.groups.ledger import Ledger
from hwcomp.groups.movement import apply
from hwcomp.groups.operators import HANDLERS, MOVES, QUERIES, name_of
from hwcomp.groups.shadow import blank, core, numbers, spread
from hwcomp.ops import module_of, shape_of
from hwcomp.program import Program

Values = dict[str, Any]

SHADOW_ERRORS = (UnknownOperatorError, RuntimeError, TypeError, ValueError, IndexError, AttributeError)
"""What a handler raises on a use of its operator that it does not understand."""


def walk(program: Program, ledger: Ledger) -> Values:
    """Return for every node its shadow, or the number, size or sequence that it holds."""
    values: Values = {}
    paths = paths_of(program)
    for node in program.nodes:
        if node.op == "placeholder":
            values[node.name] = _blank(node.meta.get("tensor_meta"))
        elif node.op == "get_attr":
            values[node.name] = _attribute(node, program, ledger, paths)
        elif node.op == "output":
            _freeze(ledger, filled(node.args, values), "the network gives it as an output")
        else:
            values[node.name] = _called(node, values, ledger, paths)
    _freeze_hidden(ledger)
    return values


def paths_of(program: Program) -> dict[int, str]:
    """Return the path of each parameter and buffer by identity; the first one where it has several."""
    paths: dict[int, str] = {}
    for name, tensor in named_tensors(program):
        paths.setdefault(id(tensor), name)
    return paths


def named_tensors(program: Program) -> Iterable[tuple[str, Tensor]]:
    """Give all parameters and buffers, shared ones under each of their paths."""
    yield from program.module.named_parameters(remove_duplicate=False)
    yield from program.module.named_buffers(remove_duplicate=False)


def filled(arguments: Any, values: Mapping[str, Any]) -> Any:
    """Return arguments of a node with values in place of nodes."""
    return fx.node.map_arg(arguments, lambda node: values[node.name])


def call_of(node: fx.Node, values: Mapping[str, Any], ledger: Ledger, paths: dict[int, str]) -> Call:
    """Return the call that a node is, for given values of its arguments."""
    module = module_of(node)
    return Call(
        node=node, name=name_of(node, module), args=filled(node.args, values), kwargs=filled(node.kwargs, values),
        module=module, paths=paths, shape=shape_of(node), ledger=ledger,
    )  # fmt: skip


def _called(node: fx.Node, values: Values, ledger: Ledger, paths: dict[int, str]) -> Any:
    call = call_of(node, values, ledger, paths)
    described = node.meta.get("tensor_meta")
    if described is None:
        if call.name not in QUERIES:
            _freeze(ledger, (call.args, call.kwargs), f"{node.name} ({call.name}) makes something else of its values")
        return asked(call)
    if not call.tensors() and call.module is None and call.name != "getitem":
        return _blank(described)
    handler = HANDLERS.get(call.name)
    reason = f"{node.name} ({call.name.strip('<>')}) is not understood"
    if handler is not None:
        try:
            result = handler(call)
        except SHADOW_ERRORS as error:
            reason = f"{node.name} ({call.name}) is not understood: {str(error).splitlines()[0]}"
        else:
            if _fits(result, described):
                _follow_known(call, values)
                return result
    _freeze(ledger, (call.args, call.kwargs), reason)
    if call.module is not None:
        ledger.hidden |= {paths[id(tensor)] for tensor in call.module.parameters()}
    return _blank(described)


def _follow_known(call: Call, values: Values) -> None:
    """Compute what is moved out of integer buffers, so that it can serve as an index."""
    known, sources = call.ledger.known, call.node.all_input_nodes
    if call.name in MOVES and any(source.name in known for source in sources):
        real = call_of(call.node, {**values, **known}, call.ledger, call.paths)
        result = apply(real)
        if isinstance(result, Tensor):
            known[call.node.name] = result


def asked(call: Call) -> Any:
    """Return what a node without tensors holds; None where it depends on the values of tensors."""
    arguments = (call.args, call.kwargs)
    if call.name == "getattr" and call.args[1] == "dtype":
        return call.node.all_input_nodes[0].meta["tensor_meta"].dtype
    if call.module is not None or (any(True for _ in tensors_in(arguments)) and call.name not in QUERIES):
        return None
    target: Any = call.node.target
    try:
        if call.node.op == "call_method":
            return getattr(call.args[0], target)(*call.args[1:], **call.kwargs)
        return target(*call.args, **call.kwargs)
    except SHADOW_ERRORS:
        return None


def _attribute(node: fx.Node, program: Program, ledger: Ledger, paths: dict[int, str]) -> Any:
    tensor: Any = program.module
    for name in str(node.target).split("."):
        tensor = getattr(tensor, name)
    if not isinstance(tensor, Tensor):
        return tensor
    if not tensor.is_floating_point() or id(tensor) not in paths:
        ledger.known[node.name] = tensor
        return blank(tensor.shape)
    path = paths[id(tensor)]
    if tensor.ndim == 1:
        return spread(ledger.slot(path, 0, len(tensor), "scales", node.name), 0, tensor.shape)
    return ledger.bare(path, tuple(tensor.shape))


def _freeze(ledger: Ledger, values: Any, reason: str) -> None:
    for ids in tensors_in(values):
        ledger.freeze(numbers(core(ids)).reshape(-1), reason)


def _freeze_hidden(ledger: Ledger) -> None:
    """Keep parameters that are also used in a way that was not followed, or as they are beside a layer's use."""
    layered = {path for path, _ in ledger.slots}
    for (path, _), slot in ledger.slots.items():
        if path in ledger.hidden or path in ledger.parameters:
            ledger.freeze(slot.ids, f"{path} is also used by something that is not understood")
    for path, ids in ledger.parameters.items():
        if path in ledger.hidden or path in layered:
            ledger.freeze(numbers(ids).reshape(-1), f"{path} is also used by something that is not understood")


def _blank(described: Any) -> Any:
    """Return shadows without channels for what a node's meta describes."""
    if isinstance(described, TensorMetadata):
        return blank(described.shape)
    if isinstance(described, dict):
        return {key: _blank(item) for key, item in described.items()}
    if isinstance(described, (tuple, list)):
        return tuple(_blank(item) for item in described)
    return described


def _fits(result: Any, described: Any) -> bool:
    """Return whether shadows have the shapes that a node's meta describes."""
    if isinstance(described, TensorMetadata):
        return isinstance(result, Tensor) and result.shape == described.shape
    if isinstance(described, (tuple, list)):
        return (
            isinstance(result, (tuple, list))
            and len(result) == len(described)
            and all(_fits(item, wanted) for item, wanted in zip(result, described, strict=True))
        )
    return not isinstance(result, Tensor)
