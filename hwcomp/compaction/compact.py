"""Program -> physically smaller program."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from hwcomp.compaction.cut import cut_values, kept_entries
from hwcomp.compaction.edit import Edit
from hwcomp.compaction.kept import Gone, Kept, check_groups, gone_ids
from hwcomp.compaction.resize import resize
from hwcomp.compaction.rewrite import rewrite
from hwcomp.errors import PassError
from hwcomp.groups import Groups
from hwcomp.groups.call import tensors_in
from hwcomp.groups.ledger import Ledger
from hwcomp.groups.movement import apply
from hwcomp.groups.operators import MOVES, name_of
from hwcomp.groups.walk import asked, call_of
from hwcomp.ops import module_of, shape_of
from hwcomp.program import Program, finish


def compact(program: Program, groups: Groups, kept: Kept) -> Program:
    """Return a program of smaller layers.

    Before: ``conv (C -> D) -> BatchNorm (D) -> conv (D -> E)``; after: the same with ``D' < D`` channels. Parameters,
    buffers and attributes are those of smaller modules, and sizes in calls are rewritten, so the result trains, traces
    and exports like any program.

    Args:
        program: whose groups these are, or one with the same graph and other values; it is not changed.
        groups: of the program.
        kept: channels that stay.

    Raises:
        InputError: an unknown group, or channels that are out of range, not ascending, given twice, or none.
        PassError: a call could not be rewritten.
    """
    check_groups(program.module, groups)
    gone = gone_ids(groups, kept)
    result = replace(program, module=copy.deepcopy(program.module, _smaller(program.module, groups, gone)))
    _rewrite_calls(result, groups, gone)
    return _checked(finish(result), groups, gone)


def _smaller(module: fx.GraphModule, groups: Groups, gone: Gone) -> dict[int, Tensor]:
    """Return smaller parameters and buffers by the identity of those whose place they take in a copy."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    smaller: dict[int, Tensor] = {}
    for path, axes in kept_entries(groups, gone).items():
        small = tensors[path].detach()
        for axis, entries in axes:
            small = small.index_select(axis, entries.to(small.device))
        is_parameter = isinstance(tensors[path], nn.Parameter)
        smaller[id(tensors[path])] = nn.Parameter(small, tensors[path].requires_grad) if is_parameter else small
    return smaller


def _rewrite_calls(program: Program, groups: Groups, gone: Gone) -> None:
    """Go through the graph with the smaller shadows and make every call give them."""
    before, after = groups.values, dict[str, Any]()
    resized: set[str] = set()
    for node in program.nodes:
        if node.op == "output":
            continue
        old = before[node.name]
        if not any(True for _ in tensors_in(old)):
            after[node.name] = old if node.op == "get_attr" else asked(_call(node, after))
            continue
        wanted = cut_values(old, gone)
        module = module_of(node)
        if module is not None and str(node.target) not in resized:
            resized.add(str(node.target))
            _resize(module, node, after, wanted)
        elif node.op in ("call_function", "call_method"):
            rewrite(Edit(
                node=node, name=name_of(node, None), before=before, after=after, wanted=wanted, gone=gone,
            ))  # fmt: skip
            _check_move(node, after, wanted)
        after[node.name] = wanted


def _call(node: fx.Node, values: Mapping[str, Any]) -> Any:
    return call_of(node, values, Ledger(), {})


def _resize(module: nn.Module, node: fx.Node, after: Mapping[str, Any], wanted: Any) -> None:
    source = after[node.all_input_nodes[0].name] if node.all_input_nodes else None
    if isinstance(source, Tensor) and isinstance(wanted, Tensor):
        resize(module, source.shape, wanted.shape)
        if isinstance(module, nn.Unflatten):
            dim = int(module.dim) % source.ndim
            module.unflattened_size = tuple(wanted.shape[dim : dim + wanted.ndim - source.ndim + 1])


def _check_move(node: fx.Node, after: Mapping[str, Any], wanted: Any) -> None:
    """Make sure that an operator that only moves values moves them as before."""
    call = _call(node, after)
    if call.name not in (*MOVES, "getitem") or (call.name == "getitem" and len(call.tensors()) > 1):
        return
    try:
        given = apply(call)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise PassError(f"{node.name} ({call.name}) cannot be made smaller: {error}") from error
    pairs = zip(tensors_in(given), tensors_in(wanted), strict=True)
    if not all(one.shape == other.shape and bool((one == other).all()) for one, other in pairs):
        raise PassError(f"{node.name} ({call.name}) cannot be made smaller: its sizes are fixed.")


def _checked(program: Program, groups: Groups, gone: Gone) -> Program:
    """Return the program after comparing its shapes with those that were planned."""
    for node in program.nodes:
        planned = cut_values(groups.values.get(node.name), gone)
        if isinstance(planned, Tensor) and planned.shape != torch.Size(shape_of(node) or ()):
            raise PassError(f"{node.name} gives {shape_of(node)} instead of {tuple(planned.shape)} when made smaller.")
    return program
