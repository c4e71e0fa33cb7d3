"""What may be chosen for an operator: the schemes, named as they appear in manifests and target files."""

import re
from dataclasses import dataclass
from fractions import Fraction

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
FLOAT16 = Quant(name="float16", weight_bits=16, activation_bits=16, writes_integers=True)
"""Halves, for GPUs. What is said of integers elsewhere goes for the narrow format of the target, whichever it is."""

WEIGHT8 = Quant(name="weight8", weight_bits=8, activation_bits=None, writes_integers=False)
WEIGHT4 = Quant(name="weight4", weight_bits=4, activation_bits=None, writes_integers=False)

NARROW = (INT8.name, FLOAT16.name)
"""Schemes that read and write the narrow format of a target, which has one of them."""

QUANTS = {quant.name: quant for quant in (INT8, INT8_FLOAT_OUTPUT, FLOAT16, WEIGHT8, WEIGHT4)}

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


SPARSE = re.compile(r"sparse(?:(\d+)x(\d+))?:([\w.-]+)|sparse(\d+)of(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sparse:
    """Float weights of which most are zero, as in "sparse:0.1", "sparse4x1:0.1" (blocks) or "sparse2of4".

    Attributes:
        rows: output channels that share a pattern.
        columns: input channels that share a pattern, at one position of the kernel.
        density: share of the weights that are kept, above 0 and at most 1.
        group: consecutive input channels of which each keeps its share, 4 for "sparse2of4"; None for no such limit.

    Raises:
        InputError: a density out of its range, or a pattern that cannot be.
    """

    rows: int = 1
    columns: int = 1
    density: float
    group: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise InputError(f"The density of sparse weights is above 0 and at most 1; found {self.density:g}.")
        if self.rows < 1 or self.columns < 1:
            raise InputError(f"A block of weights has at least 1x1 of them; found {self.rows}x{self.columns}.")
        if self.group is not None and (self.rows, self.columns) != (1, 1):
            raise InputError(f"Weights in groups of {self.group} are kept one by one; leave rows and columns at 1.")
        if self.group is not None and (self.group < 1 or round(self.density * self.group) / self.group != self.density):
            raise InputError(
                f"A density of {self.density:g} keeps no whole number of {self.group} weights; take N/{self.group}."
            )

    @property
    def exact_density(self) -> Fraction:
        """The density as it is written, so that nine tenths of ten weights are nine."""
        if self.group is not None:
            return Fraction(round(self.density * self.group), self.group)
        return Fraction(repr(float(self.density)))

    def __str__(self) -> str:
        if self.group is not None:
            return f"sparse{self.exact_density * self.group}of{self.group}"
        block = "" if (self.rows, self.columns) == (1, 1) else f"{self.rows}x{self.columns}"
        return f"sparse{block}:{repr(float(self.density)).removesuffix('.0')}"


def sparse_of(choice: str) -> Sparse | None:
    """Return what a choice like "sparse4x1:0.1" means, or None for one that is not sparse.

    Raises:
        InputError: the density is no number above 0 and at most 1, or the name is not as hwcomp writes it.
    """
    match = SPARSE.fullmatch(choice)
    if match is None:
        return None
    rows, columns, density, kept, group = match.groups()
    if group is not None:
        if not 0 < int(kept) <= int(group):
            raise InputError(f"Scheme '{choice}' must keep at least one weight and at most all of a group.")
        sparse = Sparse(density=int(kept) / int(group), group=int(group))
    else:
        sparse = Sparse(rows=int(rows or 1), columns=int(columns or 1), density=_number(density, choice))
    if str(sparse) != choice:
        raise InputError(f"Scheme '{choice}' is written '{sparse}'; use that name.")
    return sparse


def _number(text: str, choice: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"The density in '{choice}' is not a number; write for example 'sparse:0.1'.") from None


def kind_of_scheme(choice: str) -> str:
    """Return a scheme without its density, "sparse4x1": what kernels of any density have in common."""
    return choice.partition(":")[0] if is_sparse(choice) else choice


def is_sparse(choice: str) -> bool:
    """Return whether a choice is one like "sparse:0.1"; it reads and writes float."""
    return sparse_of(choice) is not None


def computes_in_float(choice: str) -> bool:
    """Return whether a whole layer computes with float weights, dense or sparse."""
    return choice == FLOAT or is_sparse(choice)


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
        InputError: there is no such scheme, or it computes in float.
    """
    if is_sparse(choice):
        raise InputError(f"Scheme '{choice}' has float weights; no integers belong to it.")
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
    return any(not computes_in_float(one) and quant_of(one).reads_integers for one in schemes_of(choice))


def reads_float(choice: str) -> bool:
    """Return whether an operator with this choice wants float inputs, at least for some filters."""
    return any(computes_in_float(one) or not quant_of(one).reads_integers for one in schemes_of(choice))


def writes_integers(choice: str) -> bool:
    """Return whether an operator with this choice gives integer outputs; a split one does if one of its parts does."""
    return any(not computes_in_float(one) and quant_of(one).writes_integers for one in schemes_of(choice))
