"""The cost model of a measured device: looks up what each site took in profiles of whole networks.

A site's float time is taken from the float network, its time in a scheme from the network that uses that scheme
everywhere; what a tensor costs where formats meet is taken from the mixed networks, and where a tensor was never seen
converted, from a line fitted to those that were, by their size. A float operator that runs slower among integers (its
fusion or memory layout is lost) charges the difference to the tensors that reach it as integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import final

import numpy as np
from numpy.typing import NDArray

from hwcomp.cost import CostTable
from hwcomp.kernel import Kernels
from hwcomp.profiling import Profile
from hwcomp.scheme import FLOAT, reads_integers
from hwcomp.space import Conversion, Edge, SearchSpace, conversion

PURE = ("float", "int8")
"""Profiles whose whole runs are timed: the profiler slows short kernels more, and integer kernels are short."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """Builds the table of a search space from profiles of it.

    Attributes:
        profiles: of whole networks; one of them all in float.
        whole_us: profile name -> latency of the whole run without the profiler.
        held_out: name of the profile that is kept out of the table and gives its error; None to use all.
    """

    profiles: Sequence[Profile]
    whole_us: Mapping[str, float]
    held_out: str | None = None

    def cost_table(self, space: SearchSpace, kernels: Kernels) -> CostTable:  # noqa: ARG002
        """Return the table, its error being that of the held-out profile's whole run."""
        used = [profile for profile in self.profiles if profile.name != self.held_out]
        table = self._corrected(self._sums_of_kernels(space, used))
        errors = [
            abs(table.predict_us(profile.assignment) / self.whole_us[profile.name] - 1)
            for profile in self.profiles
            if profile.name == self.held_out and profile.name in self.whole_us
        ]
        # the latest profile is nearest to what will be proposed next
        latest = used[-1]
        known = self.whole_us.get(latest.name)
        correction = known / table.predict_us(latest.assignment) if known is not None else 1.0
        return replace(table, error=max(errors, default=0.0), correction=correction)

    def _sums_of_kernels(self, space: SearchSpace, profiles: Sequence[Profile]) -> CostTable:
        site_us = {site.name: _site_us(site.name, site.candidates, profiles) for site in space.sites}
        return CostTable(
            space=space,
            site_us=site_us,
            quantize_us=_filled(space.edges, _conversions(space, profiles, site_us, "quantize")),
            dequantize_us=_filled(space.edges, _conversions(space, profiles, site_us, "dequantize")),
        )

    def _corrected(self, raw: CostTable) -> CostTable:
        """Scale kernels from profiled to real runs: float and integer ones by what their pure networks really take."""
        by_name = {profile.name: profile for profile in self.profiles}
        scale = {name: us / by_name[name].total_us for name, us in self.whole_us.items() if name in PURE}
        floats = scale.get("float", 1.0)
        integers = scale.get("int8", floats)
        both = (floats + integers) / 2
        return replace(
            raw,
            site_us={
                site: {c: us * (integers if reads_integers(c) else floats) for c, us in times.items()}
                for site, times in raw.site_us.items()
            },
            quantize_us={tensor: us * both for tensor, us in raw.quantize_us.items()},
            dequantize_us={tensor: us * both for tensor, us in raw.dequantize_us.items()},
        )


def _site_us(name: str, candidates: Sequence[str], profiles: Sequence[Profile]) -> dict[str, float]:
    """Return candidate -> time, with layout changes of the site's output, from the purest profile that has it."""
    times = {}
    for candidate in candidates:
        purest = _purest(name, candidate, profiles)
        times[candidate] = purest.site_us.get(name, 0.0) + purest.tensor_us.get(name, 0.0)
    return times


def _purest(name: str, candidate: str, profiles: Sequence[Profile]) -> Profile:
    """Return the profile in which the candidate is seen among its like, free of conversions."""
    uses = [profile for profile in profiles if profile.assignment.get(name, FLOAT) == candidate]
    return max(uses, key=lambda profile: _purity(profile, candidate))


def _purity(profile: Profile, candidate: str) -> float:
    """Return the share of sites with the same choice."""
    choices = list(profile.assignment.values())
    return choices.count(candidate) / len(choices)


def _conversions(
    space: SearchSpace,
    profiles: Sequence[Profile],
    site_us: Mapping[str, Mapping[str, float]],
    direction: Conversion,
) -> dict[str, float]:
    """Return tensor -> microseconds of one direction, for the tensors that some profile converted."""
    seen: dict[str, list[float]] = {}
    for profile in profiles:
        for edge in space.edges:
            if conversion(edge, profile.assignment) == direction:
                choice = profile.assignment.get(edge.tensor, FLOAT)
                known = _purest(edge.tensor, choice, profiles).tensor_us.get(edge.tensor, 0.0)
                own = profile.tensor_us.get(edge.tensor, 0.0) - known
                slower = _slower_readers(edge, profile, site_us) if direction == "dequantize" else 0.0
                seen.setdefault(edge.tensor, []).append(own + slower)
    return {tensor: max(0.0, median(times)) for tensor, times in seen.items()}


def _slower_readers(edge: Edge, profile: Profile, site_us: Mapping[str, Mapping[str, float]]) -> float:
    """Return how much longer than in the float network the float readers of a converted tensor take."""
    extra = 0.0
    for reader in dict.fromkeys(edge.readers):
        if profile.assignment.get(reader) == FLOAT and reader in profile.site_us:
            extra += max(0.0, profile.site_us[reader] - site_us[reader][FLOAT])
    return extra


def _filled(edges: Sequence[Edge], seen: Mapping[str, float]) -> dict[str, float]:
    """Return a time for every tensor: the one seen, or that of a line through those seen, over their size."""
    sizes = np.array([edge.elements for edge in edges if edge.tensor in seen], float)
    times = np.array([seen[edge.tensor] for edge in edges if edge.tensor in seen], float)
    slope, start = _line(sizes, times)
    return {edge.tensor: seen.get(edge.tensor, start + slope * edge.elements) for edge in edges}


def _line(sizes: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[float, float]:
    """Return (slope, start) of a line that is nowhere negative and never falls."""
    if len(times) == 0:
        return 0.0, 0.0
    slope, start = np.polyfit(sizes, times, 1).tolist() if float(np.ptp(sizes)) > 0 else (0.0, 0.0)
    if slope <= 0:
        return 0.0, float(np.median(times))
    if start < 0:
        return float(sizes @ times / (sizes @ sizes)), 0.0
    return float(slope), float(start)


COST_MODEL = Lookup
