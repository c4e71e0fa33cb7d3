r"""The expected latency of a network whose schemes and widths are drawn, by a few operations on vectors.

Sites and groups draw independently, so the expectation of a product of two widths is

.. math:: E[n_g n_h] = E[n_g]\, E[n_h] \;\; (g \ne h), \qquad E[n_g n_g] = E[n_g^2],

and with laws that are polynomials of second degree in the widths nothing else is needed to be exact.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.scheme import FLOAT, reads_float, reads_integers, writes_integers
from hwcomp.space import SearchSpace
from hwcomp.width_law import Polynomial, Widths

DrawnWidth = tuple[Sequence[int], Tensor]
"""Some widths of a group and the probability of each, (widths,)."""

EXACT = torch.float64


class Stack:
    """Polynomials in the widths, evaluated together.

    Args:
        laws: the polynomials.
        channels: group -> full width, for every group.
    """

    def __init__(self, laws: Sequence[Polynomial], channels: Widths) -> None:
        places = {name: index for index, name in enumerate(channels)}
        pairs = {pair: index for index, pair in enumerate(dict.fromkeys(pair for law in laws for pair in law.pairs))}
        terms = list[tuple[int, int, float]]()  # law, monomial, factor
        for row, law in enumerate(laws):
            terms.append((row, 0, law.constant))
            terms += [(row, 1 + places[g], factor * channels[g]) for g, factor in law.linear.items()]
            terms += [
                (row, 1 + len(places) + pairs[g, h], factor * channels[g] * channels[h])
                for (g, h), factor in law.pairs.items()
            ]
        self._laws = len(laws)
        self._rows = torch.tensor([row for row, _, _ in terms], dtype=torch.int64)
        self._monomials = torch.tensor([monomial for _, monomial, _ in terms], dtype=torch.int64)
        self._factors = torch.tensor([factor for _, _, factor in terms], dtype=EXACT)
        ends = torch.tensor([(places[g], places[h]) for g, h in pairs], dtype=torch.int64).reshape(len(pairs), 2)
        self._first, self._second = ends.unbind(1)

    def expected(self, shares: Tensor, squares: Tensor) -> Tensor:
        """Return the expected values (laws,).

        Args:
            shares: expectation of each group's width as a share of its channels, (groups,).
            squares: expectation of the square of that share, (groups,).
        """
        first, second = self._first, self._second
        products = torch.where(first == second, squares[first], shares[first] * shares[second])
        monomials = torch.cat([torch.ones(1, dtype=EXACT), shares, products])
        values = self._factors * monomials[self._monomials]
        return torch.zeros(self._laws, dtype=EXACT).index_add(0, self._rows, values)


class Wiring:
    """Which candidates are whose, and which sites make and read each tensor.

    Args:
        space: sites and edges.
    """

    def __init__(self, space: SearchSpace) -> None:
        places = {site.name: index for index, site in enumerate(space.sites)}
        never, always = len(places), len(places) + 1  # two more places behind those of the sites
        candidates = [(index, c) for index, site in enumerate(space.sites) for c in site.candidates]
        self.columns = dict[str, range]()
        start = 0
        for site in space.sites:
            self.columns[site.name] = range(start, start := start + len(site.candidates))
        self.in_float = torch.tensor([float(c == FLOAT) for _, c in candidates], dtype=EXACT)
        self._owners = torch.tensor([index for index, _ in candidates], dtype=torch.int64)
        self._reads = torch.tensor([float(reads_integers(c)) for _, c in candidates], dtype=EXACT)
        self._reads_alone = torch.tensor([float(not reads_float(c)) for _, c in candidates], dtype=EXACT)
        self._writes = torch.tensor([float(writes_integers(c)) for _, c in candidates], dtype=EXACT)
        self._ends = torch.tensor([0.0, 1.0], dtype=EXACT)
        self._makers = torch.tensor([places.get(edge.tensor, never) for edge in space.edges], dtype=torch.int64)
        readers = [[places.get(reader, never) for reader in dict.fromkeys(edge.readers)] for edge in space.edges]
        self._some_readers, self._all_readers = _padded(readers, never), _padded(readers, always)

    def conversions(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Return how likely each edge's tensor is quantised and how likely it is dequantised, (edges,) each.

        Args:
            probabilities: of all candidates of all sites, one site after the other.
        """
        reads = self._per_site(probabilities * self._reads)
        made = self._per_site(probabilities * self._writes)[self._makers]
        some_read = 1 - (1 - reads[self._some_readers]).prod(1)
        all_read = self._per_site(probabilities * self._reads_alone)[self._all_readers].prod(1)
        return (1 - made) * some_read, made * (1 - all_read)

    def _per_site(self, values: Tensor) -> Tensor:
        sites = torch.zeros(len(self.columns), dtype=EXACT).index_add(0, self._owners, values)
        return torch.cat([sites, self._ends])


class Expectation:
    """The expectation of the sum of all laws, as `hwcomp.joint_cost.JointTable.expected_us` tells.

    Args:
        space: sites and edges.
        channels: group -> full width.
        sites: site -> candidate -> law.
        quantize: tensor -> law.
        dequantize: tensor -> law.
    """

    def __init__(
        self,
        space: SearchSpace,
        channels: Widths,
        *,
        sites: Mapping[str, Mapping[str, Polynomial]],
        quantize: Mapping[str, Polynomial],
        dequantize: Mapping[str, Polynomial],
    ) -> None:
        self._channels = channels
        self._places = {group: index for index, group in enumerate(channels)}
        self._wiring = Wiring(space)
        self._sites = Stack([sites[site.name][c] for site in space.sites for c in site.candidates], channels)
        self._quantize, self._dequantize = (
            Stack([laws[edge.tensor] for edge in space.edges], channels) for laws in (quantize, dequantize)
        )

    def __call__(self, probabilities: Mapping[str, Tensor], widths: Mapping[str, DrawnWidth]) -> Tensor:
        """Return the expectation, of the type and on the device of what is given."""
        p, moments = self._probabilities(probabilities), self._moments(widths)
        quantized, dequantized = self._wiring.conversions(p)
        total = (p * self._sites.expected(*moments)).sum()
        total = total + (quantized * self._quantize.expected(*moments)).sum()
        total = total + (dequantized * self._dequantize.expected(*moments)).sum()
        given = [*probabilities.values(), *(drawn for _, drawn in widths.values())]
        return total.to(given[0]) if given else total

    def _probabilities(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Return the probabilities of all candidates of all sites, one site after the other."""
        wiring, columns = self._wiring, list[int]()
        for site, p in probabilities.items():
            own = wiring.columns.get(site)
            if own is None or p.shape != (len(own),):
                known = "is not in the latency table" if own is None else f"has {len(own)} candidates"
                raise InputError(f"Site '{site}' {known}; it is given probabilities of shape {tuple(p.shape)}.")
            columns += own
        if not columns:
            return wiring.in_float
        drawn = torch.cat(list(probabilities.values())).to("cpu", EXACT)
        return wiring.in_float.index_copy(0, torch.tensor(columns), drawn)

    def _moments(self, widths: Mapping[str, DrawnWidth]) -> tuple[Tensor, Tensor]:
        """Return the expectations of each group's share of its channels and of that share's square, (groups,) each."""
        whole = torch.ones(len(self._channels), dtype=EXACT)
        if not widths:
            return whole, whole
        shares, owners = list[float](), list[int]()
        for group, (sizes, p) in widths.items():
            if group not in self._channels or p.shape != (len(sizes),):
                known = "is not in the latency table" if group not in self._channels else f"has {len(sizes)} widths"
                raise InputError(f"Group '{group}' {known}; it is given probabilities of shape {tuple(p.shape)}.")
            shares += [size / self._channels[group] for size in sizes]
            owners += [self._places[group]] * len(sizes)
        drawn = torch.cat([p for _, p in widths.values()]).to("cpu", EXACT)
        share, owner = torch.tensor(shares, dtype=EXACT), torch.tensor(owners)
        others = whole.index_fill(0, owner, 0.0)
        return others.index_add(0, owner, drawn * share), others.index_add(0, owner, drawn * share**2)


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """Return rows of different lengths as a matrix (rows, most)."""
    most = max(map(len, rows), default=0)
    filled = [[*row, *[filler] * (most - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.int64).reshape(len(rows), most)
