r"""The exact choice: one candidate per site, conversions included, by mixed-integer linear programming.

With x_{sc} = 1 where site s takes candidate c, and for every tensor e made by m(e) and read by r:

.. math::
    w_e = \sum_c x_{m(e)c} [c \text{ writes integers}], \quad q_e \ge \sum_c x_{rc} [c \text{ reads integers}] - w_e,
    \quad d_e \ge w_e - \sum_c x_{rc} [c \text{ reads integers}]

the latency and the sensitivity are linear in (x, q, d). An operator between integers on all sides is never float, nor
is one that only moves values and is read as integers alone: the runtime would compute them in integers all the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from hwcomp.cost import CostTable
from hwcomp.scheme import FLOAT, reads_float, reads_integers, split_of, writes_integers
from hwcomp.space import FOLLOWS_READERS

TIME_LIMIT_S = 20.0
GAP = 1e-3
"""Relative distance to the optimum at which the solver may stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """How much rounding moves the outputs: relative squared distances, which add up where errors are independent.

    Attributes:
        weights: site -> candidate -> distance caused by its rounded weight.
        tensors: tensor -> distance caused by storing it as integers.
    """

    weights: Mapping[str, Mapping[str, float]]
    tensors: Mapping[str, float]

    def of_weight(self, site: str, choice: str) -> float:
        """Return the distance caused by a site's rounded weight; of two schemes, if not known, by shares of filters."""
        known, split = self.weights.get(site, {}), split_of(choice)
        if split is None or choice in known:
            return known.get(choice, 0.0)
        return split.share * known.get(split.first, 0.0) + (1 - split.share) * known.get(split.second, 0.0)

    def total(self, table: CostTable, assignment: Mapping[str, str]) -> float:
        """Return the sum over an assignment."""
        chosen = table.space.complete(assignment)
        total = sum(self.of_weight(name, choice) for name, choice in chosen.items())
        for edge in table.space.edges:
            read = any(reads_integers(chosen.get(reader, FLOAT)) for reader in edge.readers)
            if read or writes_integers(chosen.get(edge.tensor, FLOAT)):
                total += self.tensors.get(edge.tensor, 0.0)
        return total


class _Problem:
    """Columns: one per site and candidate, then q and d of every tensor."""

    def __init__(self, table: CostTable, sensitivity: Sensitivity) -> None:
        self.table = table
        self.column: dict[tuple[str, str], int] = {}
        for site in table.space.sites:
            for candidate in site.candidates:
                self.column[site.name, candidate] = len(self.column)
        self.edges = table.space.edges
        self.quantize = len(self.column)
        self.dequantize = self.quantize + len(self.edges)
        self.columns = self.dequantize + len(self.edges)
        self.latency = np.zeros(self.columns)
        self.distance = np.zeros(self.columns)
        self._fill(sensitivity)

    def _fill(self, sensitivity: Sensitivity) -> None:
        table, scale = self.table, self.table.correction
        makers = {edge.tensor for edge in self.edges}
        for (name, candidate), column in self.column.items():
            self.latency[column] = scale * table.site_us[name][candidate]
            self.distance[column] = sensitivity.of_weight(name, candidate)
            if writes_integers(candidate) and name in makers:
                self.distance[column] += sensitivity.tensors.get(name, 0.0)
        for index, edge in enumerate(self.edges):
            self.latency[self.quantize + index] = scale * table.quantize_us[edge.tensor]
            self.latency[self.dequantize + index] = scale * table.dequantize_us[edge.tensor]
            self.distance[self.quantize + index] = sensitivity.tensors.get(edge.tensor, 0.0)

    def constraints(self) -> list[LinearConstraint]:
        """Return: one candidate per site; q and d at least what the choices demand."""
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        low: list[float] = []
        high: list[float] = []

        def add(terms: dict[int, float], at_least: float, at_most: float) -> None:
            for column, value in terms.items():
                rows.append(len(low))
                columns.append(column)
                values.append(value)
            low.append(at_least)
            high.append(at_most)

        for site in self.table.space.sites:
            add({self.column[site.name, c]: 1.0 for c in site.candidates}, 1, 1)
        for index, edge in enumerate(self.edges):
            made = self._terms(edge.tensor, writes_integers)
            for reader in dict.fromkeys(edge.readers):
                read, alone = self._terms(reader, reads_integers), self._terms(reader, _reads_integers_alone)
                add({self.quantize + index: 1.0} | _difference(made, read), 0, np.inf)
                add({self.dequantize + index: 1.0} | _difference(alone, made), 0, np.inf)
        for site in self.table.space.free:
            self._stays_float(site.name, add)
            if site.op in FOLLOWS_READERS:
                self._follows_readers(site.name, add)
        matrix = coo_array((values, (rows, columns)), shape=(len(low), self.columns)).tocsr()
        return [LinearConstraint(matrix, low, high)]

    def _stays_float(self, name: str, add: Callable[[dict[int, float], float, float], None]) -> None:
        """Forbid float between integers on all sides: the runtime would compute that in integers all the same."""
        sources = [edge for edge in self.edges if name in edge.readers]
        index = next((index for index, edge in enumerate(self.edges) if edge.tensor == name), None)
        if index is None or not sources:
            return
        terms = {self.column[name, FLOAT]: 1.0, self.quantize + index: 1.0}
        for edge in sources:
            terms |= self._terms(edge.tensor, writes_integers)
        add(terms, -np.inf, 1 + len(sources))

    def _follows_readers(self, name: str, add: Callable[[dict[int, float], float, float], None]) -> None:
        """Forbid float before integers only: the runtime would quantise first, and move integers."""
        readers = next((dict.fromkeys(edge.readers) for edge in self.edges if edge.tensor == name), {})
        if readers:
            terms = {self.column[name, FLOAT]: 1.0}
            for reader in readers:
                terms |= self._terms(reader, _reads_integers_alone)
            add(terms, -np.inf, len(readers))

    def _terms(self, name: str, integers: Callable[[str], bool]) -> dict[int, float]:
        return {column: 1.0 for (site, choice), column in self.column.items() if site == name and integers(choice)}

    def assignment(self, solution: NDArray[np.float64]) -> dict[str, str]:
        """Return the choices of a solution."""
        return {name: choice for (name, choice), column in self.column.items() if solution[column] > 0.5}


def _reads_integers_alone(choice: str) -> bool:
    return not reads_float(choice)


def _difference(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {column: one.get(column, 0.0) - other.get(column, 0.0) for column in one.keys() | other.keys()}


def solve(
    table: CostTable,
    sensitivity: Sensitivity,
    *,
    max_latency_us: float | None = None,
    max_distance: float | None = None,
) -> dict[str, str] | None:
    """Return the best assignment, or None if no assignment meets the limit.

    With ``max_latency_us`` the least sensitive one that is fast enough; else the fastest, within ``max_distance`` if
    that is given. Ties are broken by the other quantity.
    """
    problem = _Problem(table, sensitivity)
    constraints = problem.constraints()
    fastest = max(float(problem.latency.sum()), 1e-9)
    furthest = max(float(problem.distance.sum()), 1e-12)
    if max_latency_us is not None:
        constraints.append(LinearConstraint(problem.latency[None, :], -np.inf, max_latency_us))
        objective = problem.distance / furthest + 1e-6 * problem.latency / fastest
    else:
        if max_distance is not None:
            constraints.append(LinearConstraint(problem.distance[None, :] / furthest, -np.inf, max_distance / furthest))
        objective = problem.latency / fastest + 1e-6 * problem.distance / furthest
    whole = np.zeros(problem.columns)
    whole[: problem.quantize] = 1  # q and d become whole by themselves: they only have lower bounds of whole numbers
    result = milp(
        objective / max(float(np.abs(objective).max()), 1e-12),
        integrality=whole,
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": GAP},
    )
    return None if result.x is None else problem.assignment(result.x)
