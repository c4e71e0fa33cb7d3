"""The cost model of a device that was sampled: measured rows where there are, a learned model's predictions elsewhere.

A comparison never mixes the two: the candidates of a site are all measured or all predicted.
"""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from hwcomp.cost import CostTable
from hwcomp.kernel import BOUNDARIES, Kernel, Kernels
from hwcomp.learned_model import LearnedModel
from hwcomp.learning import fit, worst_families
from hwcomp.space import SearchSpace

__all__ = ["COST_MODEL", "Learned", "LearnedModel", "fit", "worst_families"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """Builds tables from measured rows and a model fitted to others of the same device.

    Attributes:
        model: for what was not measured.
        measured: kernel -> microseconds.
    """

    model: LearnedModel
    measured: Mapping[str, float]

    def cost_table(self, space: SearchSpace, kernels: Kernels) -> CostTable:
        """Return the table; sums of kernels, not yet corrected to whole runs.

        Its error is the mean of those of its entries, each by its share of the time; measured rows have none.
        """
        sources = {site: self._source(candidates) for site, candidates in kernels.sites.items()}
        predicted_us = self._predictions(kernels, sources)
        site_us = {
            site: {
                choice: self.measured[kernel.key] if sources[site] == "measured" else predicted_us[kernel.key]
                for choice, kernel in candidates.items()
            }
            for site, candidates in kernels.sites.items()
        }
        known_us = ChainMap(dict(self.measured), predicted_us)
        quantize_us, dequantize_us = (
            {edge.tensor: known_us[kernels.tensors[edge.tensor][direction].key] for edge in space.edges}
            for direction in BOUNDARIES
        )
        return CostTable(
            space=space,
            site_us=site_us,
            quantize_us=quantize_us,
            dequantize_us=dequantize_us,
            error=self._error(kernels, sources, site_us),
            provenance=self.model.provenance,
            sources=sources,
            notes=self._notes(kernels, sources),
        )

    def _source(self, candidates: Mapping[str, Kernel]) -> str:
        return "measured" if all(kernel.key in self.measured for kernel in candidates.values()) else "learned"

    def _predictions(self, kernels: Kernels, sources: Mapping[str, str]) -> dict[str, float]:
        """Return key -> microseconds of everything that the model must say."""
        asked = {
            kernel.key: kernel
            for site, candidates in kernels.sites.items()
            if sources[site] == "learned"
            for kernel in candidates.values()
        }
        conversions = (kernel for directions in kernels.tensors.values() for kernel in directions.values())
        asked |= {kernel.key: kernel for kernel in conversions if kernel.key not in self.measured}
        if not asked:
            return {}
        times_us = self.model.regression.predict_us(list(asked.values()))
        return dict(zip(asked, times_us.tolist(), strict=True))

    def _error(self, kernels: Kernels, sources: Mapping[str, str], site_us: Mapping[str, Mapping[str, float]]) -> float:
        total_us = sum(us for times in site_us.values() for us in times.values())
        wrong_us = sum(
            self.model.error(kernels.sites[site][choice]) * us
            for site, times in site_us.items()
            if sources[site] == "learned"
            for choice, us in times.items()
        )
        return wrong_us / total_us if total_us else 0.0

    def _notes(self, kernels: Kernels, sources: Mapping[str, str]) -> tuple[str, ...]:
        beyond = [
            site
            for site, candidates in kernels.sites.items()
            if sources[site] == "learned" and not all(map(self.model.covers, candidates.values()))
        ]
        return tuple(f"{site}: unlike every kernel that the learned model was fitted to" for site in beyond)


COST_MODEL = Learned
