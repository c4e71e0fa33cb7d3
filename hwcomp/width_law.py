"""Latencies as polynomials of second degree in the widths of a network's groups."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Widths = Mapping[str, int]
"""Group name -> channels; groups that are not named have all of theirs."""

Pair = tuple[str, str]
Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Polynomial:
    r"""A polynomial of second degree in the widths: :math:`c + \sum_g l_g n_g + \sum_{g \le h} q_{gh} n_g n_h`.

    Attributes:
        constant: c.
        linear: l.
        pairs: q, by names in alphabetical order.
    """

    constant: float = 0.0
    linear: Mapping[str, float] = field(default_factory=dict)
    pairs: Mapping[Pair, float] = field(default_factory=dict)

    def __call__(self, widths: Widths) -> float:
        """Return the value for widths that name every group."""
        value = self.constant + sum(factor * widths[name] for name, factor in self.linear.items())
        return value + sum(factor * widths[g] * widths[h] for (g, h), factor in self.pairs.items())

    def __add__(self, other: "Polynomial") -> "Polynomial":
        return Polynomial(
            constant=self.constant + other.constant,
            linear=_summed(self.linear, other.linear),
            pairs=_summed(self.pairs, other.pairs),
        )

    def scaled(self, factor: float) -> "Polynomial":
        """Return a multiple."""
        return Polynomial(
            constant=factor * self.constant,
            linear={name: factor * value for name, value in self.linear.items()},
            pairs={pair: factor * value for pair, value in self.pairs.items()},
        )

    def times(self, other: "Polynomial") -> "Polynomial":
        """Return the product of two polynomials of first degree."""
        linear = _summed(self.scaled(other.constant).linear, other.scaled(self.constant).linear)
        pairs: dict[Pair, float] = {}
        for g, one in self.linear.items():
            for h, two in other.linear.items():
                pair = (g, h) if g <= h else (h, g)
                pairs[pair] = pairs.get(pair, 0.0) + one * two
        return Polynomial(constant=self.constant * other.constant, linear=linear, pairs=pairs)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        pairs = [[g, h, factor] for (g, h), factor in self.pairs.items()]
        return {"constant": self.constant, "linear": dict(self.linear), "pairs": pairs}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Polynomial":
        """Return what `as_json` gave."""
        pairs = {(g, h): factor for g, h, factor in kept["pairs"]}
        return cls(constant=kept["constant"], linear=kept["linear"], pairs=pairs)


def _summed(one: Mapping[Key, float], other: Mapping[Key, float]) -> dict[Key, float]:
    return {key: one.get(key, 0.0) + other.get(key, 0.0) for key in dict.fromkeys([*one, *other])}
