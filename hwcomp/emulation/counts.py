"""Numbers of executed instructions by class, and the latency that they stand for."""

from dataclasses import dataclass

CLASSES = (
    "vector multiply-add, float", "dot product, integer", "multiply-add, integer", "other vector", "scalar float",
    "load", "store", "branch", "other",
)  # fmt: skip
"""In the order in which the plugin counts them."""

VECTOR_FMA, DOT_PRODUCT, INTEGER_MAC, OTHER_VECTOR, SCALAR_FLOAT = range(5)


@dataclass(frozen=True, slots=True)
class Counts:
    """Executed instructions by class.

    Attributes:
        by_class: in the order of `CLASSES`.
    """

    by_class: tuple[int, ...]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_class)

    @property
    def is_integer(self) -> bool:
        """Whether more is multiplied in integers than in float."""
        return self.by_class[DOT_PRODUCT] + self.by_class[INTEGER_MAC] > self.by_class[VECTOR_FMA]

    @property
    def multiplications(self) -> int:
        """Those that multiply vectors."""
        return sum(self.by_class[index] for index in (VECTOR_FMA, DOT_PRODUCT, INTEGER_MAC))

    @property
    def scalar_share(self) -> float:
        """Scalar float arithmetic as a share of it and of everything that multiplies vectors, 0 to 1."""
        scalar = self.by_class[SCALAR_FLOAT]
        arithmetic = scalar + self.multiplications
        return scalar / arithmetic if arithmetic else 0.0

    def shares(self) -> dict[str, float]:
        """Return class -> share of all instructions, 0 to 1."""
        return {name: count / max(self.total, 1) for name, count in zip(CLASSES, self.by_class, strict=True)}

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(tuple(a - b for a, b in zip(self.by_class, other.by_class, strict=True)))


def parse_counts(value: object) -> Counts:
    """Return counts from an answer of the guest.

    Raises:
        ValueError: in a few words, what they are instead.
    """
    if not isinstance(value, list) or len(value) != len(CLASSES):
        raise ValueError("counts that are no list of one number for each class of instructions")
    if not all(type(item) is int and item >= 0 for item in value):
        raise ValueError("counts that are no whole numbers")
    return Counts(tuple(value))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How long instructions take on a core.

    Attributes:
        float_cycles: per instruction, where floats are multiplied or nothing is.
        integer_cycles: per instruction, where mostly integers are multiplied.
        clock_ghz: of the core.
    """

    float_cycles: float
    integer_cycles: float
    clock_ghz: float

    def us(self, instructions: float, mix: Counts | None = None) -> float:
        """Return the time in microseconds of so many instructions, of such a mix if it is known."""
        cycles = self.integer_cycles if mix is not None and mix.is_integer else self.float_cycles
        return instructions * cycles / (self.clock_ghz * 1e3)
