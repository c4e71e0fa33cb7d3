r"""How long a network takes as a function of the widths of its groups.

Every site's time is a non-negative mixture of what it does: starting, reading its input, writing its output, and
multiplying,

.. math:: t_s(n) = a_s + b_s\, \mathrm{in}_s(n) + c_s\, \mathrm{out}_s(n) + d_s\, \mathrm{macs}_s(n),

where in and out are linear in the widths n and macs is bilinear. So the whole is quadratic in the widths, and an exact
choice of widths is a linear programme over pairs of groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from hwcomp.entries import Profile
from hwcomp.groups import Groups
from hwcomp.groups.shadow import core, numbers
from hwcomp.program import Program

Widths = Mapping[str, int]
"""Group name -> channels; groups that are not named have all of theirs."""

Pair = tuple[str, str]


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


def _summed(one: Mapping, other: Mapping) -> dict:  # type: ignore[type-arg]
    return {key: one.get(key, 0.0) + other.get(key, 0.0) for key in one.keys() | other.keys()}


class Counts:
    """How many entries tensors and parameters have, as polynomials in the widths."""

    def __init__(self, network: Program, groups: Groups) -> None:
        self._groups = groups
        self._nodes = {node.name: node for node in network.nodes}
        self._ends = np.cumsum([group.channels for group in groups.groups])
        self._modules = {node.name: str(node.target) for node in network.nodes if node.op == "call_module"}

    def features(self, site: str, source: str | None) -> list[Polynomial]:
        """Return what a site does: a start, its input, its output, and its multiplications if it has a weight.

        Args:
            site: name of its node.
            source: name of the node that makes its first input, if that is in the network.
        """
        found = [Polynomial(constant=1.0)]
        found += [self.of_tensor(name) for name in (source, site) if name in self._nodes]
        weight = f"{self._modules.get(site, '')}.weight"
        rows, columns = (self._groups.axes.get((weight, axis)) for axis in (0, 1))
        if rows is not None and columns is not None:
            found.append(self._counted(rows).times(self._counted(columns)))
        return found

    def of_tensor(self, name: str) -> Polynomial:
        """Return how many elements a node's tensor has."""
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


def width_law(network: Program, groups: Groups, timed: Sequence[Timed], sources: Mapping[str, str]) -> Polynomial:
    """Return the latency of a network as a polynomial in its widths, in microseconds.

    Args:
        network: with all channels.
        groups: of it.
        timed: some networks of other widths; the first one decides the scale of the whole.
        sources: site -> the node that makes its first input.
    """
    counts = Counts(network, groups)
    total = Polynomial()
    sites = dict.fromkeys(name for one in timed for name in one.profile.site_us)
    for site in sites:
        features = counts.features(site, sources.get(site))
        total += _fitted(features, timed, [one.profile.site_us.get(site, 0.0) for one in timed])
    for tensor in dict.fromkeys(name for one in timed for name in one.profile.tensor_us):
        features = [Polynomial(constant=1.0), counts.of_tensor(tensor)]
        total += _fitted(features, timed, [one.profile.tensor_us.get(tensor, 0.0) for one in timed])
    ratios = [one.latency_us / max(total(one.widths), 1e-9) for one in timed]
    return total.scaled(float(np.median(ratios)))


def _fitted(features: list[Polynomial], timed: Sequence[Timed], times_us: Sequence[float]) -> Polynomial:
    """Return the non-negative mixture of features that is nearest to the times, relative to their size."""
    goal = np.array(times_us)
    floor = max(0.05 * float(goal.max()), 1e-3)
    weight = 1.0 / np.maximum(goal, floor)
    matrix = np.array([[feature(one.widths) for feature in features] for one in timed])
    scale = np.maximum(matrix.max(axis=0), 1e-9)
    factors, _ = nnls(matrix / scale * weight[:, None], goal * weight)
    total = Polynomial()
    for feature, factor in zip(features, factors / scale, strict=True):
        total += feature.scaled(float(factor))
    return total
