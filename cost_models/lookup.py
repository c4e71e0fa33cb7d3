"""The cost model of a device whose kernels were measured: looks every one of them up.

Conversions of a tensor that was never seen converted are taken from a line fitted to those that were, by their size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from hwcomp.cost import CostTable
from hwcomp.errors import InputError
from hwcomp.kernel import Kernels
from hwcomp.provenance import Provenance
from hwcomp.space import Conversion, SearchSpace


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """Builds the table of a search space from rows of the latency store.

    Attributes:
        rows: kernel -> microseconds, see `hwcomp.store`.
        provenance: of the rows.
        error: relative error of the rows themselves, where they are a model's.
    """

    rows: Mapping[str, float]
    provenance: Provenance = "measured"
    error: float = 0.0

    def missing(self, kernels: Kernels) -> tuple[str, ...]:
        """Return the kernels of operators that the rows do not have, sorted."""
        wanted = {kernel.key for candidates in kernels.sites.values() for kernel in candidates.values()}
        return tuple(sorted(wanted - self.rows.keys()))

    def cost_table(self, space: SearchSpace, kernels: Kernels) -> CostTable:
        """Return the table; sums of kernels, not yet corrected to whole runs.

        Raises:
            InputError: kernels of operators are missing.
        """
        missing = self.missing(kernels)
        if missing:
            raise InputError(
                f"The latency table lacks {len(missing)} of this network's kernels, first of all '{missing[0]}'; "
                "`hwcomp profile MODEL` measures them."
            )
        site_us = {
            site: {choice: self.rows[kernel.key] for choice, kernel in candidates.items()}
            for site, candidates in kernels.sites.items()
        }
        return CostTable(
            space=space,
            site_us=site_us,
            quantize_us=self._conversions(space, kernels, "quantize"),
            dequantize_us=self._conversions(space, kernels, "dequantize"),
            provenance=self.provenance,
            error=self.error,
        )

    def _conversions(self, space: SearchSpace, kernels: Kernels, direction: Conversion) -> dict[str, float]:
        """Return a time for every tensor: its row, or that of a line through the rows there are, over their size."""
        keys = {edge.tensor: kernels.tensors[edge.tensor][direction].key for edge in space.edges}
        known = [
            (edge.elements, self.rows[keys[edge.tensor]]) for edge in space.edges if keys[edge.tensor] in self.rows
        ]
        slope, start = _line([size for size, _ in known], [us for _, us in known])
        return {edge.tensor: self.rows.get(keys[edge.tensor], start + slope * edge.elements) for edge in space.edges}


def _line(sizes: Sequence[int], times: Sequence[float]) -> tuple[float, float]:
    """Return (slope, start) of a line that is nowhere negative and never falls."""
    if len(times) == 0:
        return 0.0, 0.0
    x, y = np.array(sizes, float), np.array(times, float)
    slope, start = np.polyfit(x, y, 1).tolist() if float(np.ptp(x)) > 0 else (0.0, 0.0)
    if slope <= 0:
        return 0.0, float(np.median(y))
    if start < 0:
        return float(x @ y / (x @ x)), 0.0
    return float(slope), float(start)


COST_MODEL = Lookup
