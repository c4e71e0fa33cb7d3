"""The search space: sites and candidates, how sites are wired, and what was chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log10
from typing import Literal

from hwcomp.scheme import FLOAT, reads_float, reads_integers, writes_integers

Assignment = Mapping[str, str]
"""Site name -> name of the chosen scheme; a site that is not named computes in float."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One operator with what the runtime fuses into it.

    Attributes:
        name: of its node in the graph.
        op: what it computes, see `hwcomp.ops`.
        candidates: names of schemes, "float" first.
    """

    name: str
    op: str
    candidates: tuple[str, ...] = (FLOAT,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """One float tensor: who makes it and who reads it.

    Attributes:
        tensor: name of the node that makes it.
        elements: how many numbers it has.
        readers: names of the nodes that read it; the graph's output is "output".
    """

    tensor: str
    elements: int
    readers: tuple[str, ...]


Conversion = Literal["quantize", "dequantize"]

FOLLOWS_READERS = frozenset({"max_pool2d", "flatten", "reshape", "transpose"})
"""Operators that only move values: the runtime moves a quantisation behind them to before them."""


def conversion(edge: Edge, assignment: Assignment) -> Conversion | None:
    """Return the change of number format that a tensor needs: none if its maker and all its readers agree."""
    read = [assignment.get(reader, FLOAT) for reader in edge.readers]
    if writes_integers(assignment.get(edge.tensor, FLOAT)):
        return "dequantize" if any(map(reads_float, read)) else None
    return "quantize" if any(map(reads_integers, read)) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """Everything a search needs to know of a program with choices.

    Attributes:
        sites: every operator in execution order, also those with float as their only candidate.
        edges: every float tensor between operators.
    """

    sites: tuple[Site, ...]
    edges: tuple[Edge, ...]

    @property
    def free(self) -> tuple[Site, ...]:
        """The sites where there is something to choose."""
        return tuple(site for site in self.sites if len(site.candidates) > 1)

    @property
    def size_log10(self) -> float:
        """Decimal logarithm of the number of assignments."""
        return sum(log10(len(site.candidates)) for site in self.sites)

    def complete(self, assignment: Assignment) -> dict[str, str]:
        """Return the assignment with "float" for every site that it does not name.

        Raises:
            ValueError: it names a site or a scheme that is not in the space.
        """
        by_name = {site.name: site for site in self.sites}
        for name, choice in assignment.items():
            if name not in by_name or choice not in by_name[name].candidates:
                raise ValueError(f"'{name}: {choice}' is not in the search space")
        return {site.name: assignment.get(site.name, FLOAT) for site in self.sites}

    def everywhere(self, *preferred: str) -> dict[str, str]:
        """Return the assignment that takes at every site the first of the preferred schemes that it has, else float."""
        chosen = {}
        for site in self.sites:
            matches = [scheme for scheme in preferred if scheme in site.candidates]
            chosen[site.name] = matches[0] if matches else FLOAT
        return chosen
