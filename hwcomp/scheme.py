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
    """Return whether an operator with this choice wants integer inputs."""
    return choice != FLOAT and quant_of(choice).reads_integers


def writes_integers(choice: str) -> bool:
    """Return whether an operator with this choice gives integer outputs."""
    return choice != FLOAT and quant_of(choice).writes_integers
