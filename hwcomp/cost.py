"""What an assignment costs on a target: the table that a search reads."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from hwcomp.kernel import Kernels
from hwcomp.provenance import Provenance
from hwcomp.scheme import FLOAT, reads_float, reads_integers, writes_integers
from hwcomp.space import Assignment, Edge, SearchSpace, Site, conversion


@dataclass(frozen=True, kw_only=True, slots=True)
class CostTable:
    r"""Latency of every site and candidate, and of every boundary between integers and float.

    .. math:: T(a) = c \Big( \sum_s t_s(a_s) + \sum_e q_e [\text{made in float, read as integers}]
              + \sum_e d_e [\text{made as integers, read in float}] \Big)

    Attributes:
        space: what may be chosen.
        site_us: t, site -> candidate -> microseconds.
        quantize_us: q, tensor -> microseconds, with the change of memory layout that it brings.
        dequantize_us: d, likewise.
        correction: c, from the sum of kernels to the whole run.
        error: relative error of T, found on runs that were not used for fitting.
        held_out: how many runs that error was found on; 0 where none could be made.
        provenance: of all entries; kinds are never mixed.
        sources: site -> where its entries come from, if not all from the same: "measured", or "learned" from others.
        notes: what the entries leave out; they end up in the manifest.
    """

    space: SearchSpace
    site_us: Mapping[str, Mapping[str, float]]
    quantize_us: Mapping[str, float]
    dequantize_us: Mapping[str, float]
    correction: float = 1.0
    error: float = 0.0
    held_out: int = 0
    provenance: Provenance = "measured"
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def predict_us(self, assignment: Assignment) -> float:
        """Return T of one assignment."""
        chosen = self.space.complete(assignment)
        total = sum(self.site_us[name][choice] for name, choice in chosen.items())
        for edge in self.space.edges:
            total += self.conversion_us(edge, chosen)
        return self.correction * total

    def conversion_us(self, edge: Edge, assignment: Assignment) -> float:
        """Return what changing one tensor's number format costs under an assignment, without the correction."""
        change = conversion(edge, assignment)
        if change is None:
            return 0.0
        return (self.quantize_us if change == "quantize" else self.dequantize_us)[edge.tensor]

    def expected_us(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Return the expectation of T when every site draws its candidate independently; differentiable.

        Args:
            probabilities: site -> tensor (candidates,), in the order of the site's candidates; a site that is not
                named is float.
        """
        total = torch.zeros(())
        reads: dict[str, Tensor] = {}
        reads_alone: dict[str, Tensor] = {}  # integers, and nothing in float
        writes: dict[str, Tensor] = {}
        for site in self.space.sites:
            surely_float = torch.tensor([float(c == FLOAT) for c in site.candidates])
            p = probabilities.get(site.name, surely_float)
            total = total + (p * torch.tensor([self.site_us[site.name][c] for c in site.candidates])).sum()
            reads[site.name] = (p * torch.tensor([float(reads_integers(c)) for c in site.candidates])).sum()
            reads_alone[site.name] = (p * torch.tensor([float(not reads_float(c)) for c in site.candidates])).sum()
            writes[site.name] = (p * torch.tensor([float(writes_integers(c)) for c in site.candidates])).sum()
        zero = torch.zeros(())
        for edge in self.space.edges:
            made = writes.get(edge.tensor, zero)
            none_reads, all_read = torch.ones(()), torch.ones(())
            for reader in dict.fromkeys(edge.readers):
                none_reads = none_reads * (1 - reads.get(reader, zero))
                all_read = all_read * reads_alone.get(reader, zero)
            total = total + (1 - made) * (1 - none_reads) * self.quantize_us[edge.tensor]
            total = total + made * (1 - all_read) * self.dequantize_us[edge.tensor]
        return self.correction * total

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "CostTable":
        """Return what `as_json` gave."""
        space = SearchSpace(
            sites=tuple(Site(**{**site, "candidates": tuple(site["candidates"])}) for site in kept["space"]["sites"]),
            edges=tuple(Edge(**{**edge, "readers": tuple(edge["readers"])}) for edge in kept["space"]["edges"]),
        )
        return cls(**{**kept, "space": space, "notes": tuple(kept["notes"])})


class CostModel(Protocol):
    """Something that can fill a table for a search space; one file each in ``hwcomp.cost_models``."""

    def cost_table(self, space: SearchSpace, kernels: Kernels) -> CostTable:
        """Return the table of a space from the description of its kernels."""
        ...
