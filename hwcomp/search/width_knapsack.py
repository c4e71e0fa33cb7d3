r"""The exact choice of widths under a latency, by mixed-integer linear programming.

With :math:`x_{gw} = 1` where group g takes width w, and :math:`y^{gh}_{wv} = x_{gw} x_{hv}` for the pairs whose product
the latency depends on:

.. math:: \max \sum_{gw} V_g(w)\, x_{gw} \quad \text{such that} \quad c + \sum_{gw} (l_g w + q_{gg} w^2)\, x_{gw}
          + \sum_{gh} \sum_{wv} q_{gh} w v\, y^{gh}_{wv} \le T, \quad
          \sum_v y^{gh}_{wv} = x_{gw}, \quad \sum_w y^{gh}_{wv} = x_{hv}

The y become whole by themselves: for whole x, their sums leave them no other value. [Shen2022]_ choose widths under a
latency by a knapsack too, with one fixed price per channel; here a price depends on the widths at both ends of a layer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from hwcomp.errors import InputError
from hwcomp.width_law import Pair, Polynomial

TIME_LIMIT_S = 30.0
GAP = 1e-3
"""Relative distance to the optimum at which the solver may stop."""


def solve_widths(
    law: Polynomial,
    candidates: Mapping[str, Sequence[int]],
    values: Mapping[str, NDArray[np.float64]],
    limit_us: float,
) -> dict[str, int] | None:
    """Return the most valuable widths that are fast enough, or None if not even the smallest are.

    Args:
        law: latency in microseconds.
        candidates: group -> widths, ascending.
        values: group -> value of each of its candidates, larger is better.
        limit_us: latency that must not be exceeded.

    Raises:
        InputError: the solver found nothing in its time.
    """
    smallest = {name: widths[0] for name, widths in candidates.items()}
    if law(smallest) > limit_us:
        return None
    problem = _Problem(law, candidates)
    scale = max(sum(float(np.max(value)) for value in values.values()), 1e-12)
    objective = np.zeros(problem.columns)
    for name, value in values.items():
        objective[problem.of_group(name)] = -np.asarray(value) / scale
    budget = LinearConstraint(problem.latency[None, :] / limit_us, -np.inf, 1 - law.constant / limit_us)
    whole = np.zeros(problem.columns)
    whole[: problem.choices] = 1
    result = milp(
        objective,
        integrality=whole,
        bounds=Bounds(0, 1),
        constraints=[problem.structure(), budget],
        options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": GAP},
    )
    if result.x is None:
        raise InputError(
            f"The choice of widths of {len(candidates)} groups did not end within {TIME_LIMIT_S:.0f} s; use "
            "--method uniform_pruning instead."
        )
    return problem.widths(result.x)


class _Problem:
    """Columns: one per group and width, then one per pair of widths of every pair of groups."""

    def __init__(self, law: Polynomial, candidates: Mapping[str, Sequence[int]]) -> None:
        self.candidates = candidates
        self.first: dict[str, int] = {}
        self.choices = 0
        for name, widths in candidates.items():
            self.first[name] = self.choices
            self.choices += len(widths)
        self.pairs = [pair for pair, factor in law.pairs.items() if pair[0] != pair[1] and factor > 0]
        self.first_pair: dict[Pair, int] = {}
        self.columns = self.choices
        for g, h in self.pairs:
            self.first_pair[g, h] = self.columns
            self.columns += len(candidates[g]) * len(candidates[h])
        self.latency = self._latency(law)

    def of_group(self, name: str) -> slice:
        """Return the columns of a group's widths."""
        return slice(self.first[name], self.first[name] + len(self.candidates[name]))

    def widths(self, solution: NDArray[np.float64]) -> dict[str, int]:
        """Return the widths of a solution."""
        return {name: widths[int(solution[self.of_group(name)].argmax())] for name, widths in self.candidates.items()}

    def structure(self) -> LinearConstraint:
        """Return: one width per group; the pairs agree with both of their groups."""
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        equal: list[float] = []

        def add(positive: Sequence[int], negative: Sequence[int], value: float) -> None:
            rows.extend([len(equal)] * (len(positive) + len(negative)))
            columns.extend([*positive, *negative])
            values.extend([1.0] * len(positive) + [-1.0] * len(negative))
            equal.append(value)

        for name in self.candidates:
            add(range(self.choices)[self.of_group(name)], [], 1.0)
        for (g, h), first in self.first_pair.items():
            ours, theirs = len(self.candidates[g]), len(self.candidates[h])
            for w in range(ours):
                add([first + w * theirs + v for v in range(theirs)], [self.first[g] + w], 0.0)
            for v in range(theirs):
                add([first + w * theirs + v for w in range(ours)], [self.first[h] + v], 0.0)
        matrix = coo_array((values, (rows, columns)), shape=(len(equal), self.columns)).tocsr()
        return LinearConstraint(matrix, equal, equal)

    def _latency(self, law: Polynomial) -> NDArray[np.float64]:
        latency = np.zeros(self.columns)
        for name, widths in self.candidates.items():
            w = np.array(widths, dtype=float)
            own = law.pairs.get((name, name), 0.0)
            latency[self.of_group(name)] = law.linear.get(name, 0.0) * w + own * w * w
        for (g, h), first in self.first_pair.items():
            products = np.outer(self.candidates[g], self.candidates[h]).astype(float) * law.pairs[g, h]
            latency[first : first + products.size] = products.reshape(-1)
        return latency
