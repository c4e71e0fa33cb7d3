"""Write the mean over an image as the pooling operator that runtimes have fast kernels for."""

from dataclasses import dataclass
from typing import final

from torch import fx, nn

from hwcomp.ops import op_of, shape_of
from hwcomp.program import PassResult, Program, finish, fresh_name


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CanonicalizeMean:
    """Turn ``x.mean((2, 3))`` of an ``(N, C, H, W)`` tensor into global average pooling.

    Before: ``x -> mean((2, 3)) -> y``; after: ``x -> adaptive_avg_pool2d(1) -> flatten(1) -> y``, without the flatten
    where the mean keeps its dimensions.
    """

    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the program with pooling instead of means over images."""
        result = program.fork()
        means = [node for node in result.nodes if op_of(node) == "mean" and _is_over_image(node)]
        for node in means:
            graph = result.module.graph
            name = fresh_name(result.module, f"{node.name}_pool")
            result.module.add_submodule(name, nn.AdaptiveAvgPool2d(1))
            with graph.inserting_before(node):
                pooled = graph.call_module(name, (node.args[0],))
                if not _option(node, 2, "keepdim", default=False):
                    flat = fresh_name(result.module, f"{node.name}_flat")
                    result.module.add_submodule(flat, nn.Flatten(1))
                    pooled = graph.call_module(flat, (pooled,))
            node.replace_all_uses_with(pooled)
            graph.erase_node(node)
        return PassResult(program=finish(result), changed=len(means))


def _option(node: fx.Node, position: int, name: str, default: object) -> object:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _is_over_image(node: fx.Node) -> bool:
    shape = shape_of(node.all_input_nodes[0]) if node.all_input_nodes else None
    axes = _option(node, 1, "dim", default=None)
    if shape is None or len(shape) != 4 or not isinstance(axes, (tuple, list)):
        return False
    return node.kwargs.get("dtype") is None and sorted(int(axis) % 4 for axis in axes) == [2, 3]


PASS = CanonicalizeMean
