"""Assignment -> everything that lowering needs, and the program that computes with the same rounding.

A tensor is stored as integers where its maker writes them, or where one of its readers wants them.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from hwcomp.calibration import Observation
from hwcomp.choice import Choice
from hwcomp.ops import WEIGHTED, anchor, module_of, op_of
from hwcomp.program import Program, finish, fresh_name
from hwcomp.quantizer import (
    SYMMETRIC,
    QuantParams,
    QuantWeight,
    bias_correction,
    fake_quantize,
    quantize_blocks,
    quantize_per_channel,
)
from hwcomp.scheme import FLOAT, FLOAT16, QUANTS, computes_in_float, reads_integers, sparse_of, writes_integers
from hwcomp.space import Assignment
from hwcomp.sparsity import operator_with_zeros

LARGEST_BIAS = 2.0**30
"""In steps of the accumulator: half of what 32 bits hold, the other half is for the products."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantPlan:
    """What is stored as integers, and with which parameters.

    Attributes:
        assignment: site -> scheme, complete.
        tensors: tensor -> parameters, only those that are quantised.
        weights: site -> weight, only those that are quantised.
        is_symmetric: whether 0 stands for 0 in every tensor that may be quantised, so that biases stay float.
    """

    assignment: Mapping[str, str]
    tensors: Mapping[str, QuantParams]
    weights: Mapping[str, QuantWeight]
    is_symmetric: bool = False

    @property
    def is_in_halves(self) -> bool:
        """Whether the narrow format is float16."""
        return any(scheme == FLOAT16.name for scheme in self.assignment.values())


def plan(
    program: Program,
    assignment: Assignment,
    params: Mapping[str, QuantParams],
    seen: Mapping[str, Observation],
    weight_bits: int = 8,
) -> QuantPlan:
    """Return what an assignment means for every tensor and weight.

    Args:
        program: with choices.
        assignment: site -> scheme; sites not named stay float.
        params: of every tensor, from `hwcomp.calibration`.
        seen: its channel means correct the biases.
        weight_bits: 8, or 7 on targets whose integer products saturate.
    """
    chosen = {node.name: assignment.get(node.name, FLOAT) for node in program.nodes if node.op.startswith("call_")}
    tensors, weights = {}, {}
    for node in program.nodes:
        if node.name in params and _is_stored_as_integers(node, chosen):
            tensors[node.name] = params[node.name]
        scheme = chosen.get(node.name, FLOAT)
        if not computes_in_float(scheme) and op_of(node) in WEIGHTED:
            source = node.all_input_nodes[0].name
            weight = quantize_weight(node, scheme, seen.get(source), weight_bits)
            weights[node.name] = _with_integer_bias(weight, scheme, params[source])
    is_symmetric = any(one.dtype in SYMMETRIC for one in params.values())
    return QuantPlan(assignment=chosen, tensors=tensors, weights=weights, is_symmetric=is_symmetric)


def _is_stored_as_integers(node: fx.Node, chosen: Assignment) -> bool:
    made = writes_integers(chosen.get(node.name, FLOAT))
    return made or any(reads_integers(chosen.get(user.name, FLOAT)) for user in node.users)


def quantize_weight(node: fx.Node, scheme: str, source: Observation | None, weight_bits: int = 8) -> QuantWeight:
    """Return the quantised weight of a site, its bias corrected by the mean of its input where that is known.

    Halves are too near to the weight for that.
    """
    module = module_of(node)
    assert module is not None
    operator = anchor(module)
    weight, bias = operator.weight, operator.bias
    assert isinstance(weight, Tensor)
    quant = QUANTS[scheme]
    assert quant.weight_bits is not None
    if quant is FLOAT16:
        exact = bias.detach().clone() if isinstance(bias, Tensor) else None
        return QuantWeight(values=weight.detach().half(), scales=torch.ones(weight.shape[0]), bits=16, bias=exact)
    if quant.reads_integers:
        bits = min(quant.weight_bits, weight_bits)
        values, scales = quantize_per_channel(weight, bits)
    else:
        bits = quant.weight_bits
        values, scales = quantize_blocks(weight, bits)
    quantized = QuantWeight(values=values, scales=scales, bits=bits, bias=None)
    corrected = bias.detach().clone() if isinstance(bias, Tensor) else torch.zeros(weight.shape[0])
    if source is not None:
        corrected += bias_correction(weight.detach(), quantized.dequantized, source.channel_mean)
    return QuantWeight(values=values, scales=scales, bits=bits, bias=corrected)


def _with_integer_bias(weight: QuantWeight, scheme: str, source: QuantParams) -> QuantWeight:
    """Round the bias to the steps of the accumulator, where integer kernels add it; symmetric formats leave it float.

    Weights next to nothing (of a channel that was pruned softly, say) would make steps so small that the bias is beyond
    32 bits; such a channel gets larger steps.
    """
    if not QUANTS[scheme].reads_integers or weight.bias is None or source.dtype in SYMMETRIC:
        return weight
    scales = torch.maximum(weight.scales, weight.bias.abs() / (LARGEST_BIAS * source.scale))
    coarser = (weight.scales / scales).view(-1, *[1] * (weight.values.ndim - 1))
    step = scales * source.scale
    return replace(
        weight,
        values=(weight.values * coarser).round().to(torch.int8),
        scales=scales,
        bias=(weight.bias / step).round() * step,
    )


class FakeQuantize(nn.Module):
    """Rounds a tensor as storing it in integers would."""

    def __init__(self, params: QuantParams) -> None:
        super().__init__()
        self.params = params

    def forward(self, x: Tensor) -> Tensor:
        """Return x rounded, any shape."""
        return fake_quantize(x, self.params)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"scale={self.params.scale:g}, zero_point={self.params.zero_point}, dtype={self.params.dtype}"


def fix(program: Program, quantization: QuantPlan) -> Program:
    """Return the program without choices: rounded weights, and rounding where tensors are stored as integers.

    Before: ``x -> Choice(conv) -> y``; after: ``x -> fake_quantize -> conv' -> fake_quantize -> y``. The weight of a
    site with a sparse scheme has exact zeros.
    """
    result = program.fork()
    for node in result.nodes:
        module = module_of(node)
        if isinstance(module, Choice):
            operator = module.op
            sparse = sparse_of(quantization.assignment.get(node.name, FLOAT))
            if sparse is not None:
                operator = operator_with_zeros(operator, sparse)
            if node.name in quantization.weights:
                operator = with_weight(operator, quantization.weights[node.name])
            result.module.add_submodule(str(node.target), operator)
        if node.name in quantization.tensors:
            _round_after(result, node, quantization)
    return finish(result)


def with_weight(operator: nn.Module, quantized: QuantWeight) -> nn.Module:
    """Return a copy of an operator (perhaps fused) that computes with the rounded weight and the corrected bias."""
    rounded = copy.deepcopy(operator)
    inner = anchor(rounded)
    inner.weight = nn.Parameter(quantized.dequantized)
    inner.register_parameter("bias", None if quantized.bias is None else nn.Parameter(quantized.bias))
    return rounded


def _round_after(program: Program, node: fx.Node, quantization: QuantPlan) -> None:
    name = fresh_name(program.module, f"{node.name}_rounded")
    program.module.add_submodule(name, FakeQuantize(quantization.tensors[node.name]))
    with program.module.graph.inserting_after(node):
        rounded = program.module.graph.call_module(name, (node,))
    made = writes_integers(quantization.assignment.get(node.name, FLOAT))
    for user in [user for user in node.users if user is not rounded]:
        if made or reads_integers(quantization.assignment.get(user.name, FLOAT)):
            user.replace_input_with(node, rounded)
