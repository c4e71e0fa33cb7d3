"""Assignment -> program that trains with the rounding that lowering will do."""

from collections.abc import Mapping

from torch import Tensor, nn

from hwcomp.choice import Choice
from hwcomp.ops import WEIGHTED, module_of, op_of_module
from hwcomp.program import Program, finish, fresh_name
from hwcomp.quantizer import QuantParams
from hwcomp.scheme import FLOAT, reads_integers, sparse_of, writes_integers
from hwcomp.space import Assignment
from hwcomp.sparsity import SparseOperator
from hwcomp.supernet.rounding import (
    EIGHT_BITS,
    Rounding,
    WeightRounding,
    call_with,
    in_mode_of,
    rounding_of,
    weight_name,
)
from hwcomp.supernet.stores import Roundings, StoredTensor, has_params, store_after


class RoundedOperator(nn.Module):
    """An operator that computes with its rounded weight; the float weight is what is trained.

    Args:
        op: the operator with what is fused into it.
        name: of its weight among its parameters.
        rounding: of the weight.
        noise: see `hwcomp.supernet.weights.round_weight`.
    """

    def __init__(self, op: nn.Module, name: str, rounding: Rounding, noise: float) -> None:
        super().__init__()
        self.op, self.weight_name, self.rounding = op, name, rounding
        self.round_weight = WeightRounding(op.get_parameter(name), [rounding], noise)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the operator with the rounded weight."""
        weight = self.round_weight(self.op.get_parameter(self.weight_name), self.rounding)
        return call_with(self.op, self.weight_name, weight, inputs)


def quantised(
    joined: Program,
    assignment: Assignment,
    params: Mapping[str, QuantParams],
    *,
    weight_bits: int = EIGHT_BITS,
    noise: float = 0.0,
) -> Program:
    """Return the program that computes an assignment as `hwcomp.fix` will, and trains: weights, norms and steps.

    Before: ``x -> Choice(Normalised(conv, batch_norm)) -> y``; after:
    ``x -> stored x -> RoundedOperator(Normalised(conv, batch_norm)) -> stored y``. A site with a sparse scheme keeps
    the mask of its largest weights; those that are left out get no gradient.

    Args:
        joined: after `hwcomp.default_passes.training_passes`; its leaf modules are shared.
        assignment: site -> scheme; sites that are not named stay float.
        params: of every tensor; steps start from them.
        weight_bits: that integer products on the target take.
        noise: see `hwcomp.supernet.weights.round_weight`; in training only.
    """
    result, roundings = joined.fork(), Roundings(joined, params)
    for node in result.nodes:
        module = module_of(node)
        if isinstance(module, Choice):
            path = fresh_name(result.module, f"{node.name}_rounded")
            scheme = assignment.get(node.name, FLOAT)
            result.module.add_submodule(path, _fixed(module.op, scheme, weight_bits, noise))
            node.target = path
    for node in result.nodes:
        made = writes_integers(assignment.get(node.name, FLOAT))
        readers = [user for user in node.users if made or reads_integers(assignment.get(user.name, FLOAT))]
        if has_params(node, params) and (made or readers):
            stored = StoredTensor(node.name, [user.name for user in readers], roundings.of(node.name), 1.0)
            store_after(result, node, stored, readers)
    return finish(result)


def _fixed(op: nn.Module, scheme: str, weight_bits: int, noise: float) -> nn.Module:
    """Return an operator that computes in a scheme, apart from its inputs and output."""
    name = weight_name(op) if op_of_module(op) in WEIGHTED else None
    sparse = sparse_of(scheme)
    if name is not None and sparse is not None:
        return in_mode_of(SparseOperator(op, sparse), op)
    rounding = rounding_of(scheme, weight_bits)
    if name is None or rounding.weight_bits is None:
        return op
    return in_mode_of(RoundedOperator(op, name, rounding, noise), op)


def learned_params(module: nn.Module) -> dict[str, QuantParams]:
    """Return the parameters of every tensor that a quantised program, or a copy of it, stores as integers.

    They take the place of those of calibration, for `hwcomp.fix.plan`, which must then not correct biases: training
    has done that.
    """
    stored = [part for part in module.modules() if isinstance(part, StoredTensor)]
    return {one.tensor: one.rounding.params for one in stored}
