"""Give linear layers two-dimensional inputs, the only form in which runtimes compute them in integers with a bias."""

from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from hwcomp.ops import op_of, shape_of
from hwcomp.program import PassResult, Program, finish, fresh_name


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FlattenLinear:
    """Compute a linear layer over tokens as one matrix product.

    Before: ``x (N, T, C) -> linear -> y (N, T, D)``; after:
    ``x -> reshape (N * T, C) -> linear -> reshape (N, T, D) -> y``.
    """

    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the program with reshapes around such layers."""
        result = program.fork()
        graph = result.module.graph
        layers = [node for node in result.nodes if op_of(node) == "linear" and len(shape_of(node) or ()) > 2]
        for node in layers:
            shape = shape_of(node)
            assert shape is not None
            source = node.all_input_nodes[0]
            leading = shape[:-1]
            before = fresh_name(result.module, f"{node.name}_rows")
            result.module.add_submodule(before, nn.Flatten(0, len(leading) - 1))
            with graph.inserting_before(node):
                flat = graph.call_module(before, (source,))
            node.replace_input_with(source, flat)
            with graph.inserting_after(node):
                restored = graph.call_function(torch.reshape, (node, shape))
            for user in [user for user in node.users if user is not restored]:
                user.replace_input_with(node, restored)
        return PassResult(program=finish(result), changed=len(layers))


PASS = FlattenLinear
