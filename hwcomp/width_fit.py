r"""How long each operator of a network takes as a function of the widths of its groups, fitted to timed networks.

Every site's time is a non-negative mixture of what it does: starting, reading its input, writing its output, and
multiplying,

.. math:: t_s(n) = a_s + b_s\, \mathrm{in}_s(n) + c_s\, \mathrm{out}_s(n) + d_s\, \mathrm{macs}_s(n),

where in and out are linear in the widths n and macs is bilinear. So the whole is quadratic in the widths, and an exact
choice of widths is a linear programme over pairs of groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from hwcomp.entries import Profile
from hwcomp.groups import Groups
from hwcomp.groups.shadow import core, numbers
from hwcomp.program import Program
from hwcomp.space import Edge
from hwcomp.width_law import Polynomial, Widths


class Counts:
    """How many entries tensors and parameters have, as polynomials in the widths.

    Attributes:
        channels: group -> full width.

    Args:
        network: as traced, with all channels.
        groups: of it.
        edges: of the network after passes, which may have made operators that the traced one lacks; what those give
            is a share of what they read.
    """

    def __init__(self, network: Program, groups: Groups, edges: Sequence[Edge] = ()) -> None:
        self._groups = groups
        self.channels = {group.name: group.channels for group in groups.groups}
        self._sources = {node.name: [source.name for source in node.all_input_nodes[:1]] for node in network.nodes}
        self._ends = np.cumsum([group.channels for group in groups.groups])
        self._modules = {node.name: str(node.target) for node in network.nodes if node.op == "call_module"}
        self._shares: dict[str, tuple[str, float]] = {}
        elements = {edge.tensor: edge.elements for edge in edges}
        for edge in edges:
            for reader in edge.readers:
                if reader not in self._sources:
                    self._sources[reader] = [edge.tensor]
                    self._shares[reader] = edge.tensor, elements.get(reader, 0) / max(edge.elements, 1)

    def features(self, site: str) -> list[Polynomial]:
        """Return what a site does: a start, its first input, its output, and its products if it has a weight.

        Args:
            site: name of its node; of one that is nowhere, only the start is known.
        """
        found = [Polynomial(constant=1.0)]
        if site in self._sources:
            found += [self.of_tensor(name) for name in (*self._sources[site], site)]
        weight = f"{self._modules.get(site, '')}.weight"
        rows, columns = (self._groups.axes.get((weight, axis)) for axis in (0, 1))
        if rows is not None and columns is not None:
            found.append(self._counted(rows).times(self._counted(columns)))
        return found

    def of_tensor(self, name: str) -> Polynomial:
        """Return how many elements a node's tensor has."""
        if name in self._shares:
            source, share = self._shares[name]
            return self.of_tensor(source).scaled(share)
        ids = self._groups.values.get(name)
        if not isinstance(ids, Tensor) or not ids.numel():
            return Polynomial()
        small = core(ids)
        return self._counted(numbers(small).reshape(-1)).scaled(ids.numel() / small.numel())

    def _counted(self, ids: NDArray[np.int64]) -> Polynomial:
        units = self._groups.units[ids]
        owners = np.bincount(np.searchsorted(self._ends, units[units >= 0], side="right"), minlength=len(self._ends))
        linear = {
            group.name: float(count) / group.channels
            for group, count in zip(self._groups.groups, owners, strict=True)
            if count
        }
        return Polynomial(constant=float((units < 0).sum()), linear=linear)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """A network of some widths and where its time goes.

    Attributes:
        widths: of every group.
        profile: its sites and tensors.
        latency_us: of the whole.
    """

    widths: Widths
    profile: Profile
    latency_us: float


class Laws(NamedTuple):
    """Times of a network's parts, in microseconds.

    Attributes:
        sites: site -> its kernels.
        tensors: tensor -> changes of its format and layout.
    """

    sites: Mapping[str, Polynomial]
    tensors: Mapping[str, Polynomial]


def site_laws(counts: Counts, timed: Sequence[Timed]) -> Laws:
    """Return the law of every site and of every tensor that some profile has.

    Args:
        counts: of the network with all channels.
        timed: networks of different widths, under one assignment.
    """
    sites = dict.fromkeys(name for one in timed for name in one.profile.site_us)
    tensors = dict.fromkeys(name for one in timed for name in one.profile.tensor_us)
    return Laws(
        sites={
            name: _fitted(counts.features(name), timed, [one.profile.site_us.get(name, 0.0) for one in timed])
            for name in sites
        },
        tensors={
            name: _fitted(
                [Polynomial(constant=1.0), counts.of_tensor(name)],
                timed,
                [one.profile.tensor_us.get(name, 0.0) for one in timed],
            )
            for name in tensors
        },
    )


def width_law(counts: Counts, timed: Sequence[Timed]) -> Polynomial:
    """Return the latency of a whole network: the sum of its laws, times the median ratio of latencies to that sum.

    Args:
        counts: of the network with all channels.
        timed: networks of different widths, under one assignment.
    """
    laws = site_laws(counts, timed)
    total = sum((*laws.sites.values(), *laws.tensors.values()), Polynomial())
    ratios = [one.latency_us / max(total(one.widths), 1e-9) for one in timed]
    return total.scaled(float(np.median(ratios)))


def nonnegative(features: NDArray[np.float64], times_us: NDArray[np.float64]) -> list[float]:
    """Return the factors, none negative, of the mixture of features that is nearest to times, relative to their size.

    Args:
        features: (timings, features).
        times_us: (timings,).
    """
    floor = max(0.05 * float(times_us.max()), 1e-3)
    weight = 1.0 / np.maximum(times_us, floor)
    scale = np.maximum(features.max(axis=0), 1e-9)
    factors, _ = nnls(features / scale * weight[:, None], times_us * weight)
    found: list[float] = (factors / scale).tolist()
    return found


def _fitted(features: list[Polynomial], timed: Sequence[Timed], times_us: Sequence[float]) -> Polynomial:
    """Return the mixture of features that is nearest to the times."""
    values = np.array([[feature(one.widths) for feature in features] for one in timed])
    mixture = zip(features, nonnegative(values, np.array(times_us)), strict=True)
    return sum((feature.scaled(factor) for feature, factor in mixture), Polynomial())
