"""Tensors that may be stored as integers: who decides it, and the rounding that it means."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, fx, nn

from hwcomp.ops import SAME_VALUES, is_float, op_of
from hwcomp.program import Program, fresh_name
from hwcomp.quantizer import HALF, QuantParams
from hwcomp.supernet.quantisers import ActivationRounding

FIXED_STEPS = frozenset({"hardswish", "hardsigmoid"})
"""Operators whose integer kernels rely on the step of their input, see `hwcomp.quantizer.hard_knee_params`."""


class StoredTensor(nn.Module):
    """Rounds a tensor as far as it is stored as integers.

    Attributes:
        tensor: name of the node that makes it.
        readers: names of the nodes that read it.
        rounding: how; tensors that hold the same values share one.
        share: how far: 0 not at all, 1 wholly, or a tensor between.
    """

    def __init__(self, tensor: str, readers: Iterable[str], rounding: ActivationRounding, share: float) -> None:
        super().__init__()
        self.tensor, self.readers, self.rounding = tensor, tuple(readers), rounding
        self.share: Tensor | float = share

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies are made of: the share without the graph that it belongs to."""
        share = self.share
        return {**self.__dict__, "share": share.detach() if isinstance(share, Tensor) else share}

    def forward(self, x: Tensor) -> Tensor:
        """Return x of any shape, rounded as far as it is stored as integers."""
        if isinstance(self.share, float) and self.share == 0:
            return x
        rounded: Tensor = self.rounding(x, self.share if isinstance(self.share, Tensor) else None)
        return rounded


class Roundings:
    """The rounding of each tensor of a program; tensors that hold the same values (reshapes, say) share theirs."""

    def __init__(self, program: Program, params: Mapping[str, QuantParams]) -> None:
        self._params, self._made = params, dict[str, ActivationRounding]()
        self._first: dict[str, str] = {}
        self._fixed: set[str] = set()
        for node in program.nodes:
            if node.name not in params:
                continue
            source = node.all_input_nodes[0].name if node.all_input_nodes else ""
            shares = op_of(node) in SAME_VALUES and source in self._first
            self._first[node.name] = self._first[source] if shares else node.name
            if any(op_of(user) in FIXED_STEPS for user in node.users):
                self._fixed.add(self._first[node.name])

    def of(self, tensor: str) -> ActivationRounding:
        """Return the rounding of a tensor."""
        first = self._first[tensor]
        if first not in self._made:
            params = self._params[first]
            is_half = params.dtype == HALF
            bits, learned = 16 if is_half else 8, first not in self._fixed and not is_half
            self._made[first] = ActivationRounding(params, bits, learned=learned)
        return self._made[first]


def store_after(program: Program, node: fx.Node, stored: StoredTensor, readers: Iterable[fx.Node]) -> None:
    """Make some readers of a tensor read it as it is stored, in place.

    Before: ``node -> reader``; after: ``node -> stored -> reader``.
    """
    name = fresh_name(program.module, f"{node.name}_stored")
    program.module.add_submodule(name, stored)
    users = tuple(readers)
    with program.module.graph.inserting_after(node):
        rounded = program.module.graph.call_module(name, (node,))
    for user in users:
        user.replace_input_with(node, rounded)


def has_params(node: fx.Node, params: Mapping[str, QuantParams]) -> bool:
    """Return whether a node holds a tensor that can be stored as integers."""
    return node.op != "output" and node.name in params and is_float(node)
