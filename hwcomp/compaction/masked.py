"""Program -> program of the same size that computes what the compact one does: removed channels are zero."""

import copy
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from hwcomp.compaction.kept import Gone, Kept, check_groups, gone_ids
from hwcomp.compaction.masked_norms import MaskedGroupNorm, MaskedLayerNorm
from hwcomp.groups import Groups
from hwcomp.groups.operators import name_of
from hwcomp.groups.shadow import core, numbers
from hwcomp.groups.walk import filled
from hwcomp.ops import module_of
from hwcomp.program import Program, finish, fresh_name

NORMS = ("LayerNorm", "RMSNorm", "GroupNorm", "layer_norm")
"""Operators whose statistics run over channels."""


def masked(program: Program, groups: Groups, kept: Kept) -> Program:
    """Return a program of the same size that computes what `compact` would give.

    Rows that make removed channels, what scales them and columns that read them are zero; running variances are one.
    LayerNorm, RMSNorm and GroupNorm take their statistics over the channels that stay.

    Args:
        program: whose groups these are; it is not changed.
        groups: of the program.
        kept: channels that stay.

    Raises:
        InputError: an unknown group, or channels that are out of range, not ascending, given twice, or none.
    """
    check_groups(program.module, groups)
    gone = gone_ids(groups, kept)
    result = replace(program, module=copy.deepcopy(program.module))
    _zero(result.module, groups, gone)
    for node in result.nodes:
        if node.op in ("call_module", "call_function") and name_of(node, module_of(node)) in NORMS:
            stays = ~gone[numbers(core(groups.values[node.all_input_nodes[0].name]))]
            if not stays.all():
                _mask_norm(result, node, torch.from_numpy(stays).to(program.example_inputs[0].device), groups)
    return finish(result)


def _zero(module: nn.Module, groups: Groups, gone: Gone) -> None:
    with torch.no_grad():
        for (path, axis), ids in groups.axes.items():
            tensor: Tensor = attrgetter(path)(module)
            entries = torch.from_numpy(np.flatnonzero(gone[ids])).to(tensor.device)
            tensor.index_fill_(axis, entries, 1.0 if path.endswith("running_var") else 0.0)


def _mask_norm(program: Program, node: fx.Node, stays: Tensor, groups: Groups) -> None:
    """Make a node call a normalisation over what stays, with the parameters that it had."""
    graph, module = program.module.graph, module_of(node)
    names = ("weight", "bias")
    if module is None:
        positional = zip(("input", "normalized_shape", *names, "eps"), node.args, strict=False)
        given: dict[str, Any] = {**dict(positional), **node.kwargs}
        parameters = [given.get(name) for name in names]
        count = len(filled(given["normalized_shape"], groups.values))
        replacement: nn.Module = MaskedLayerNorm(stays, count, given.get("eps", 1e-5), centered=True)
    else:
        with graph.inserting_before(node):
            parameters = [
                graph.get_attr(f"{node.target}.{name}") if getattr(module, name, None) is not None else None
                for name in names
            ]
        replacement = _like(module, stays)
    path = fresh_name(program.module, f"{node.name}_masked")
    program.module.add_submodule(path, replacement)
    source: Any = node.all_input_nodes[0]
    node.op, node.target, node.args, node.kwargs = "call_module", path, (source, *parameters), {}


def _like(module: nn.Module, stays: Tensor) -> nn.Module:
    if isinstance(module, nn.GroupNorm):
        return MaskedGroupNorm(stays, module.num_groups, module.eps)
    assert isinstance(module, (nn.LayerNorm, nn.RMSNorm))
    centered = isinstance(module, nn.LayerNorm)
    return MaskedLayerNorm(stays, len(module.normalized_shape), module.eps, centered=centered)
