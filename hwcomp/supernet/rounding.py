"""How schemes round within a site: what of it several of them share, and the modules that do it."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.func import functional_call

from hwcomp.ops import anchor
from hwcomp.quantizer import QuantParams
from hwcomp.scheme import FLOAT, Sparse, is_simulated, quant_of, sparse_of
from hwcomp.supernet.quantisers import ActivationRounding, frugal
from hwcomp.supernet.weights import LearnedWeightRounding, mask_weight, round_weight

EIGHT_BITS = 8

READERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers whose weights have rows for outputs and columns for inputs."""

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers whose weights have rows for inputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounding:
    """How a scheme rounds within a site; schemes that round alike share one.

    Attributes:
        weight_bits: None for a weight that stays float.
        is_blocked: whether blocks of weights have a step of their own, not rows.
        sparse: which weights are left out; None for none.
        input_bits: to which the site itself rounds its inputs; None where the tensor's maker or nobody does.
    """

    weight_bits: int | None = None
    is_blocked: bool = False
    sparse: Sparse | None = None
    input_bits: int | None = None


def rounding_of(scheme: str, weight_bits: int | None) -> Rounding:
    """Return how a scheme rounds.

    Args:
        scheme: its name.
        weight_bits: that integer products on the target take; None for an operator without a weight.
    """
    if scheme == FLOAT:
        return Rounding()
    sparse = sparse_of(scheme)
    if sparse is not None:
        return Rounding(sparse=sparse)
    quant = quant_of(scheme)
    bits = None if weight_bits is None else quant.weight_bits
    if is_simulated(scheme):
        return Rounding(weight_bits=bits, input_bits=quant.activation_bits)
    if bits is None or weight_bits is None:
        return Rounding()
    if quant.reads_integers:
        return Rounding(weight_bits=min(bits, weight_bits))
    return Rounding(weight_bits=bits, is_blocked=True)


class WeightRounding(nn.Module):
    """Rounds the weight of an operator in several ways; a simulated one with few bits learns its steps.

    Args:
        weight: where learned steps start from.
        roundings: that are asked for.
        noise: see `hwcomp.supernet.weights.round_weight`; in training only.
    """

    def __init__(self, weight: Tensor, roundings: Sequence[Rounding], noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        few = sorted({bits for one in roundings if (bits := _learned_bits(one)) is not None})
        self.learned = nn.ModuleDict({str(bits): LearnedWeightRounding(weight, bits) for bits in few})

    def forward(self, weight: Tensor, rounding: Rounding, whole: Tensor | None = None) -> Tensor:
        """Return the rounded weight, in its shape.

        Args:
            weight: as widths leave it.
            rounding: one of those that were asked for.
            whole: the weight without widths; None where there are none.
        """
        if rounding.sparse is not None:
            return mask_weight(weight, rounding.sparse, weight if whole is None else whole)
        if rounding.weight_bits is None:
            return weight
        noise = self.noise if self.training else 0.0
        bits = _learned_bits(rounding)
        if bits is not None:
            learned: Tensor = self.learned[str(bits)](weight, noise)
            return learned
        return round_weight(weight, rounding.weight_bits, is_blocked=rounding.is_blocked, noise=noise)


def _learned_bits(rounding: Rounding) -> int | None:
    bits = rounding.weight_bits
    return bits if rounding.input_bits is not None and bits is not None and bits < EIGHT_BITS else None


class InputRounding(nn.Module):
    """Rounds the inputs of an operator to the bits of schemes that are simulated, each with learned steps.

    Args:
        params: of each input.
        roundings: that are asked for.
    """

    def __init__(self, params: Sequence[QuantParams], roundings: Sequence[Rounding]) -> None:
        super().__init__()
        bits = sorted({one.input_bits for one in roundings if one.input_bits is not None})
        self.inputs = nn.ModuleList(
            nn.ModuleDict({str(count): ActivationRounding(one, count) for count in bits}) for one in params
        )

    def forward(self, x: Tensor, index: int, shares: dict[int, Tensor | None]) -> Tensor:
        r"""Return :math:`x + \sum_b p_b (Q_b(x) - x)`.

        Args:
            x: an input, any shape.
            index: which input it is.
            shares: bits -> share of the inputs that is rounded to them, None for all.
        """
        if not shares:
            return x
        own = self.inputs[index]
        assert isinstance(own, nn.ModuleDict)
        parts: list[Tensor] = [own[str(bits)](x, share) for bits, share in shares.items()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total if len(parts) == 1 else total - (len(parts) - 1) * x


def weight_name(module: nn.Module) -> str | None:
    """Return the name of a layer's weight among the parameters of what the layer is wrapped in; None for no layer."""
    layer = anchor(module)
    if not isinstance(layer, (*READERS, *TRANSPOSED)):
        return None
    weight = layer.weight
    return next(name for name, x in module.named_parameters(remove_duplicate=False) if x is weight)


def in_mode_of(wrapper: nn.Module, op: nn.Module) -> nn.Module:
    """Return a new wrapper of an operator after putting its own parts into the mode that the operator's layer is in."""
    inside = {id(part) for part in op.modules()}
    for part in wrapper.modules():
        if id(part) not in inside:
            part.training = anchor(op).training
    return wrapper


def call_with(op: nn.Module, name: str, weight: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return what an operator computes with another weight in place of the parameter of that name."""
    with frugal(inputs):
        result: Tensor = functional_call(op, {name: weight}, inputs)
    return result
