"""The searchable precision of an operator."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hwcomp.ops import WEIGHTED, op_of_module
from hwcomp.quantizer import QuantParams
from hwcomp.scheme import is_simulated, reads_integers, writes_integers
from hwcomp.supernet.rounding import EIGHT_BITS, InputRounding, Rounding, WeightRounding, call_with, rounding_of
from hwcomp.supernet.rounding import weight_name as name_of_weight
from hwcomp.supernet.site import Site
from hwcomp.supernet.width import Gate

Mixing = Literal["weights", "outputs"]
"""What a site mixes: its weights, in one call of the operator, or the outputs of one call per rounding."""


class PrecisionSite(Site):
    r"""An operator whose scheme is searched, with one float weight for all candidates.

    With the coefficients :math:`p` it computes

    .. math:: y = op\Big(x, \sum_k p_k Q_k(w)\Big) \quad \text{or} \quad y = \sum_k p_k \, op(x, Q_k(w)),

    mixing weights, at the cost of one call whatever the number of candidates, or outputs. Integer inputs and outputs
    are the matter of their tensors, see `hwcomp.supernet.stores`; only schemes that are simulated round inputs here,
    mixed as the weights are. In a mixture of outputs, a candidate whose coefficient is exactly 0 is left out, and gets
    no gradient.

    Attributes:
        candidates: names of schemes.
        mixing: what is mixed.
        reads: for each candidate 1 where it wants its inputs stored as integers, (candidates,).
        writes: for each candidate 1 where it gives its output as integers, (candidates,).

    Args:
        name: of its node.
        op: the operator with what is fused into it.
        candidates: see above.
        inputs: parameters of each input, for schemes that are simulated.
        weight_bits: that integer products on the target take.
        noise: see `hwcomp.supernet.weights.round_weight`.
        gate: what widths do to the weight.
    """

    reads: Tensor
    writes: Tensor
    members: Tensor

    def __init__(
        self,
        name: str,
        op: nn.Module,
        candidates: Sequence[str],
        *,
        inputs: Sequence[QuantParams] = (),
        weight_bits: int = EIGHT_BITS,
        noise: float = 0.0,
        gate: Gate | None = None,
    ) -> None:
        super().__init__(name, len(candidates))
        self.op, self.candidates, self.gate = op, tuple(candidates), gate
        self.weight_name = name_of_weight(self.op)
        self.mixing: Mixing = "weights"
        bits = weight_bits if op_of_module(self.op) in WEIGHTED else None
        wanted = [rounding_of(scheme, bits) for scheme in self.candidates]
        self.roundings = tuple(dict.fromkeys(wanted))
        self._constant("members", [[one == rounding for one in self.roundings] for rounding in wanted])
        self._constant("reads", [reads_integers(c) and not is_simulated(c) for c in self.candidates])
        self._constant("writes", [writes_integers(c) and not is_simulated(c) for c in self.candidates])
        self.round_inputs = InputRounding(inputs, self.roundings)
        self.round_weight: WeightRounding | None = None
        if self.weight_name is not None:
            self.round_weight = WeightRounding(self.op.get_parameter(self.weight_name), self.roundings, noise)

    def _constant(self, name: str, values: object) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the mixture, in the shape of the operator's output."""
        weight = self._weight()
        if self.coefficients is None:
            return self._call(weight, inputs)
        shares = (self.coefficients[:, None] * self.members).sum(0)  # no matrix product: autocast would round it
        if self.mixing == "outputs":
            return self._mixed_outputs(weight, inputs, shares)
        return self._call(self._mixed_weight(weight, shares), self._mixed_inputs(inputs, shares))

    def _weight(self) -> Tensor | None:
        """Return the weight, its columns gated by the widths of the inputs."""
        if self.weight_name is None:
            return None
        weight = self.op.get_parameter(self.weight_name)
        gated: Tensor = weight if self.gate is None else self.gate(weight)
        return gated

    def _rounded(self, weight: Tensor | None, rounding: Rounding) -> Tensor | None:
        if weight is None or self.round_weight is None:
            return None
        rounded: Tensor = self.round_weight(weight, rounding)
        return rounded

    def _mixed_weight(self, weight: Tensor | None, shares: Tensor) -> Tensor | None:
        alike: dict[tuple[int | None, bool], list[int]] = {}
        for index, rounding in enumerate(self.roundings):
            alike.setdefault((rounding.weight_bits, rounding.is_blocked), []).append(index)
        rounded = [
            (shares[indices].sum(), self._rounded(weight, self.roundings[indices[0]])) for indices in alike.values()
        ]
        return _sum(share * one for share, one in rounded if one is not None)

    def _mixed_inputs(self, inputs: tuple[Tensor, ...], shares: Tensor) -> tuple[Tensor, ...]:
        by_bits: dict[int, Tensor | None] = {}
        for index, rounding in enumerate(self.roundings):
            if rounding.input_bits is not None:
                before = by_bits.get(rounding.input_bits)
                by_bits[rounding.input_bits] = shares[index] if before is None else before + shares[index]
        return tuple(self.round_inputs(x, index, by_bits) for index, x in enumerate(inputs))

    def _mixed_outputs(self, weight: Tensor | None, inputs: tuple[Tensor, ...], shares: Tensor) -> Tensor:
        parts = []
        for share, value, rounding in zip(shares, shares.tolist(), self.roundings, strict=True):
            if value != 0:
                bits = {} if rounding.input_bits is None else {rounding.input_bits: None}
                rounded = tuple(self.round_inputs(x, index, bits) for index, x in enumerate(inputs))
                parts.append(share * self._call(self._rounded(weight, rounding), rounded))
        mixed = _sum(parts)
        assert mixed is not None, "coefficients are all zero"
        return mixed

    def _call(self, weight: Tensor | None, inputs: tuple[Tensor, ...]) -> Tensor:
        if weight is None or self.weight_name is None:
            result: Tensor = self.op(*inputs)
            return result
        return call_with(self.op, self.weight_name, weight, inputs)


def _sum(parts: Iterable[Tensor]) -> Tensor | None:
    """Return the sum of tensors of one shape; None for none."""
    total = None
    for part in parts:
        total = part if total is None else total + part
    return total
