"""The searchable precision of an operator."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.ops import WEIGHTED, op_of_module
from hwcomp.quantizer import QuantParams
from hwcomp.scheme import Sparse, is_simulated, reads_integers, schemes_of, split_of, writes_integers
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
    no gradient. A candidate of two schemes ("float:0.25+int8") is each of them for some filters: then coefficients
    differ from filter to filter.

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
        ranks: of the filters, 0 for the one that matters most, (C_out,); candidates of two schemes need it.
    """

    reads: Tensor
    writes: Tensor
    members: Tensor
    """1 where a candidate rounds a filter so, (candidates, roundings, filters); one filter stands for all."""

    def __init__(  # noqa: PLR0913 - each is a part that a site may have
        self,
        name: str,
        op: nn.Module,
        candidates: Sequence[str],
        *,
        inputs: Sequence[QuantParams] = (),
        weight_bits: int = EIGHT_BITS,
        noise: float = 0.0,
        gate: Gate | None = None,
        ranks: Tensor | None = None,
    ) -> None:
        super().__init__(name, len(candidates))
        self.op, self.candidates, self.gate = op, tuple(candidates), gate
        self.weight_name = name_of_weight(self.op)
        self.mixing: Mixing = "weights"
        bits = weight_bits if op_of_module(self.op) in WEIGHTED else None
        used = dict.fromkeys(scheme for candidate in self.candidates for scheme in schemes_of(candidate))
        self.roundings = tuple(dict.fromkeys(rounding_of(scheme, bits) for scheme in used))
        self.register_buffer("members", self._members(bits, ranks), persistent=False)
        self._constant("reads", [reads_integers(c) and not is_simulated(c) for c in self.candidates])
        self._constant("writes", [writes_integers(c) and not is_simulated(c) for c in self.candidates])
        self.round_inputs = InputRounding(inputs, self.roundings)
        self.round_weight: WeightRounding | None = None
        if self.weight_name is not None:
            self.round_weight = WeightRounding(self.op.get_parameter(self.weight_name), self.roundings, noise)

    def _members(self, bits: int | None, ranks: Tensor | None) -> Tensor:
        """Return 1 where a candidate rounds a filter so, (candidates, roundings, filters); one filter stands for all.

        Raises:
            InputError: a candidate of two schemes, and no ranks, or a scheme that is simulated.
        """
        splits = [split_of(candidate) for candidate in self.candidates]
        if any(splits) and (ranks is None or any(is_simulated(one) for c in self.candidates for one in schemes_of(c))):
            raise InputError(
                f"'{self.name}' cannot compute in two schemes at once ({', '.join(self.candidates)}): that needs "
                "filters in an order of importance, and schemes that a target computes in."
            )
        filters = len(ranks) if ranks is not None and any(splits) else 1
        members = torch.zeros(len(self.candidates), len(self.roundings), filters)
        for row, (candidate, split) in enumerate(zip(self.candidates, splits, strict=True)):
            places = [self.roundings.index(rounding_of(scheme, bits)) for scheme in schemes_of(candidate)]
            if split is None or ranks is None:
                members[row, places[0]] = 1
                continue
            first = ranks < round(split.share * filters)
            members[row, places[0]] += first
            members[row, places[1]] += ~first
        return members

    def _constant(self, name: str, values: object) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute the mixture, in the shape of the operator's output."""
        weight = self._weight()
        if self.coefficients is None:
            return self._call(weight, inputs)
        shares = (self.coefficients[:, None, None] * self.members).sum(0)  # no product of matrices: autocast rounds it
        if self.mixing == "outputs":
            return self._mixed_outputs(weight, inputs, shares)
        return self._call(self._mixed_weight(weight, shares), self._mixed_inputs(inputs, shares))

    @property
    def _axes_after_filters(self) -> int:
        """Axes of the output behind that of the filters; they are only told apart where there is more than one."""
        return 2 if self.members.shape[2] > 1 and op_of_module(self.op) == "conv2d" else 0

    def _weight(self) -> Tensor | None:
        """Return the weight, its columns gated by the widths of the inputs."""
        if self.weight_name is None:
            return None
        weight = self.op.get_parameter(self.weight_name)
        gated: Tensor = weight if self.gate is None else self.gate(weight)
        return gated

    def _rounded(self, weight: Tensor | None, rounding: Rounding) -> Tensor | None:
        if weight is None or self.round_weight is None or self.weight_name is None:
            return None
        rounded: Tensor = self.round_weight(weight, rounding, self.op.get_parameter(self.weight_name))
        return rounded

    def _mixed_weight(self, weight: Tensor | None, shares: Tensor) -> Tensor | None:
        alike: dict[tuple[int | None, bool, Sparse | None], list[int]] = {}
        for index, rounding in enumerate(self.roundings):
            alike.setdefault((rounding.weight_bits, rounding.is_blocked, rounding.sparse), []).append(index)
        rounded = [
            (shares[indices].sum(0), self._rounded(weight, self.roundings[indices[0]])) for indices in alike.values()
        ]
        return _sum(share.view(-1, *[1] * (one.ndim - 1)) * one for share, one in rounded if one is not None)

    def _mixed_inputs(self, inputs: tuple[Tensor, ...], shares: Tensor) -> tuple[Tensor, ...]:
        by_bits: dict[int, Tensor | None] = {}
        for index, rounding in enumerate(self.roundings):
            if rounding.input_bits is not None:
                before = by_bits.get(rounding.input_bits)
                share = shares[index].squeeze(0)  # of all filters: candidates of two schemes do not round inputs
                by_bits[rounding.input_bits] = share if before is None else before + share
        return tuple(self.round_inputs(x, index, by_bits) for index, x in enumerate(inputs))

    def _mixed_outputs(self, weight: Tensor | None, inputs: tuple[Tensor, ...], shares: Tensor) -> Tensor:
        parts = []
        for share, values, rounding in zip(shares, shares.tolist(), self.roundings, strict=True):
            if any(values):
                bits = {} if rounding.input_bits is None else {rounding.input_bits: None}
                rounded = tuple(self.round_inputs(x, index, bits) for index, x in enumerate(inputs))
                output = self._call(self._rounded(weight, rounding), rounded)
                parts.append(share.view(-1, *[1] * self._axes_after_filters) * output)
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
