"""Profiles of whole networks -> the latency of each kernel.

A site's float time is taken from the float network, its time in a scheme from the network that uses that scheme
everywhere; what a tensor costs where formats meet is taken from the mixed networks. An operator that runs slower behind
a conversion than among its like (its fusion or memory layout is lost) charges the difference to the conversion. Sites
and tensors with equal kernels count by their median.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from hwcomp.kernel import BOUNDARIES, Kernels
from hwcomp.lowering.onnxruntime import Owner
from hwcomp.scheme import FLOAT, reads_integers
from hwcomp.space import Conversion, SearchSpace, conversion


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One assignment and where its time went.

    Attributes:
        name: of the pattern.
        assignment: site -> scheme, complete.
        site_us: site -> microseconds.
        tensor_us: tensor -> microseconds of conversions of its format and layout.
    """

    name: str
    assignment: Mapping[str, str]
    site_us: Mapping[str, float]
    tensor_us: Mapping[str, float]

    @property
    def total_us(self) -> float:
        """The sum of all kernels."""
        return sum(self.site_us.values()) + sum(self.tensor_us.values())


def as_profile(name: str, assignment: Mapping[str, str], times: Mapping[Owner, float]) -> Profile:
    """Return the profile of an assignment from the times of its owners."""
    return Profile(
        name=name,
        assignment=assignment,
        site_us={owner.name: us for owner, us in times.items() if owner.kind == "site"},
        tensor_us={owner.name: us for owner, us in times.items() if owner.kind == "tensor"},
    )


class Described(Protocol):
    """Something with a space and its kernels."""

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        ...

    @property
    def kernels(self) -> Kernels:
        """What its sites and tensors run."""
        ...


def kernel_us(profiles: Sequence[Profile], network: Described) -> dict[str, float]:
    """Return the key of every kernel that some profile ran -> microseconds."""
    site_us = {
        site.name: {c: us for c in site.candidates if (us := _site_us(site.name, c, profiles)) is not None}
        for site in network.space.sites
    }
    samples: dict[str, list[float]] = {}
    for site, times in site_us.items():
        for candidate, us in times.items():
            samples.setdefault(network.kernels.sites[site][candidate].key, []).append(us)
    for direction in BOUNDARIES:
        for tensor, us in _conversions(network.space, profiles, site_us, direction).items():
            samples.setdefault(network.kernels.tensors[tensor][direction].key, []).append(us)
    return {kernel: median(times) for kernel, times in samples.items()}


def _site_us(name: str, candidate: str, profiles: Sequence[Profile]) -> float | None:
    """Return the time of a candidate, with layout changes of the site's output, from the purest profile that has it."""
    purest = _purest(name, candidate, profiles)
    return None if purest is None else purest.site_us.get(name, 0.0) + purest.tensor_us.get(name, 0.0)


def _purest(name: str, candidate: str, profiles: Sequence[Profile]) -> Profile | None:
    """Return the profile in which the candidate is seen among its like, free of conversions."""
    uses = [profile for profile in profiles if profile.assignment.get(name, FLOAT) == candidate]
    return max(uses, key=lambda profile: _purity(profile, candidate), default=None)


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
        converted = {edge.tensor: change for edge in space.edges if (change := conversion(edge, profile.assignment))}
        for edge in space.edges:
            if converted.get(edge.tensor) == direction:
                purest = _purest(edge.tensor, profile.assignment.get(edge.tensor, FLOAT), profiles)
                assert purest is not None, "this profile itself has that choice"
                own = profile.tensor_us.get(edge.tensor, 0.0) - purest.tensor_us.get(edge.tensor, 0.0)
                slower = sum(
                    _slower_us(reader, profile, site_us) / _converted_inputs(reader, space, converted.keys())
                    for reader in dict.fromkeys(edge.readers)
                    if _reads_converted(profile.assignment.get(reader, FLOAT), direction)
                )
                seen.setdefault(edge.tensor, []).append(own + slower)
    return {tensor: max(0.0, median(times)) for tensor, times in seen.items()}


def _reads_converted(choice: str, direction: Conversion) -> bool:
    """Return whether a reader of that choice is one that the conversion is made for."""
    return reads_integers(choice) == (direction == "quantize")


def _slower_us(reader: str, profile: Profile, site_us: Mapping[str, Mapping[str, float]]) -> float:
    """Return how much longer an operator takes in a profile than among its like."""
    if reader not in profile.site_us:
        return 0.0
    return max(0.0, profile.site_us[reader] - site_us[reader][profile.assignment[reader]])


def _converted_inputs(reader: str, space: SearchSpace, converted: Collection[str]) -> int:
    """Return how many of an operator's inputs are converted: they share what it takes longer."""
    return sum(reader in edge.readers and edge.tensor in converted for edge in space.edges)
