"""What may be chosen for an operator: the schemes, named as they appear in manifests and target files."""

import re
from dataclasses import dataclass

from hwcomp.errors import InputError

FLOAT = "float"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quant:
    """How an operator computes with integers.

    Attributes:
        name: as written in target files, manifests and tables.
        weight_bits: bits of a weight, symmetric around zero; None where the operator has none that is quantised.
        activation_bits: bits of the inputs; None if they stay float (weight-only).
        writes_integers: whether the output leaves as integers.
    """

    name: str
    weight_bits: int | None
    activation_bits: int | None
    writes_integers: bool

    @property
    def reads_integers(self) -> bool:
        """Whether the operator wants its inputs as integers."""
        return self.activation_bits is not None


INT8 = Quant(name="int8", weight_bits=8, activation_bits=8, writes_integers=True)
INT8_FLOAT_OUTPUT = Quant(name="int8_float_output", weight_bits=8, activation_bits=8, writes_integers=False)
WEIGHT8 = Quant(name="weight8", weight_bits=8, activation_bits=None, writes_integers=False)
WEIGHT4 = Quant(name="weight4", weight_bits=4, activation_bits=None, writes_integers=False)

QUANTS = {quant.name: quant for quant in (INT8, INT8_FLOAT_OUTPUT, WEIGHT8, WEIGHT4)}

WEIGHT_ONLY_BLOCK = 32
"""Weights that share one scale in a weight-only scheme, along the input channels."""

SIMULATED = re.compile(r"w(\d+)a(\d+)")
SIMULATED_BITS = range(2, 17)
"""Bits that a simulated scheme may have; a symmetric weight of one bit would always be zero."""


SPLIT = re.compile(r"(\w+):(0\.\d+)\+(\w+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Two schemes in one layer, as in "float:0.25+int8": a share of its filters in the first, the rest in the second.

    No runtime has a kernel for it; it becomes two layers and a concatenation, see `hwcomp.passes.split_filters`.

    Attributes:
        first: scheme of the filters that matter most.
        share: of the filters that compute in it, between 0 and 1.
        second: scheme of the others.
    """

    first: str
    share: float
    second: str

    def __str__(self) -> str:
        return f"{self.first}:{self.share:g}+{self.second}"


def split_of(choice: str) -> Split | None:
    """Return what a choice like "float:0.25+int8" means, or None for a scheme of a whole layer."""
    match = SPLIT.fullmatch(choice)
    return None if match is None else Split(first=match[1], share=float(match[2]), second=match[3])


def schemes_of(choice: str) -> tuple[str, ...]:
    """Return the schemes that compute a layer: two if it is split, else the choice itself."""
    split = split_of(choice)
    return (choice,) if split is None else (split.first, split.second)


def is_simulated(choice: str) -> bool:
    """Return whether a scheme is one like "w4a3" (bits of weights, bits of inputs), which no runtime computes in."""
    return SIMULATED.fullmatch(choice) is not None


def quant_of(choice: str) -> Quant:
    """Return what a scheme other than float means, also one that is only simulated, like "w4a3".

    Raises:
        InputError: there is no such scheme.
    """
    match = SIMULATED.fullmatch(choice)
    if match is None:
        if choice not in QUANTS:
            raise InputError(f"There is no scheme '{choice}'; choose from {', '.join(QUANTS)}, or one like 'w4a4'.")
        return QUANTS[choice]
    weight_bits, activation_bits = (int(bits) for bits in match.groups())
    if weight_bits not in SIMULATED_BITS or activation_bits not in SIMULATED_BITS:
        limits = f"{SIMULATED_BITS.start} to {SIMULATED_BITS.stop - 1}"
        raise InputError(f"Scheme '{choice}' cannot be simulated; weights and inputs may have {limits} bits.")
    return Quant(name=choice, weight_bits=weight_bits, activation_bits=activation_bits, writes_integers=False)


def reads_integers(choice: str) -> bool:
    """Return whether an operator with this choice wants integer inputs, at least for some filters."""
    return any(one != FLOAT and quant_of(one).reads_integers for one in schemes_of(choice))


def reads_float(choice: str) -> bool:
    """Return whether an operator with this choice wants float inputs, at least for some filters."""
    return any(one == FLOAT or not quant_of(one).reads_integers for one in schemes_of(choice))


def writes_integers(choice: str) -> bool:
    """Return whether an operator with this choice gives integer outputs; a split one does if one of its parts does."""
    return any(one != FLOAT and quant_of(one).writes_integers for one in schemes_of(choice))
