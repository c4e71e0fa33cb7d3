r"""From the sum of kernels to the whole run: factors fitted on whole runs of assignments, checked on others.

A run of assignment a takes :math:`\sum_g \theta_g F_g(a)`, where :math:`F_g` is what the table says the kernels of
group g take: operators by the kind of work and by the numbers they read, and conversions in each direction. Caches, the
hand-over between threads and the profiler's own cost are in :math:`\theta`, which is found by least squares on relative
errors, drawn towards one common factor so that few runs suffice (ridge regression):

.. math:: \min_\theta \sum_i \Big(\frac{\theta \cdot F(a_i) - t_i}{\nu\, t_i}\Big)^2
          + \sum_g \Big(\frac{\theta_g - c}{\sigma c}\Big)^2
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwcomp.analysis import facts_of
from hwcomp.cost import CostTable
from hwcomp.kernel import Kernel, Kernels
from hwcomp.scheme import reads_integers
from hwcomp.space import Assignment, conversion

NOISE = 0.03
"""nu: relative error of a run that nothing explains."""

PRIOR = 0.25
"""sigma: how far, relatively, the factor of a group is expected to lie from the common one."""

DENSE = frozenset({"conv1d", "conv2d", "conv_transpose2d", "linear", "matmul", "attention"})
ERROR_QUANTILE = 0.9
FOLDS = 5

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A whole run.

    Attributes:
        assignment: that was run.
        latency_us: what it took.
    """

    assignment: Assignment
    latency_us: float


def corrected(table: CostTable, kernels: Kernels, runs: Sequence[Run]) -> CostTable:
    """Return the table with its entries scaled to whole runs, its error being that of runs left out of the fit.

    The error is the 90th percentile over all runs, each predicted by a fit without it and its fold.

    Raises:
        ValueError: there are no runs.
    """
    if not runs:
        raise ValueError("a correction needs whole runs")
    groups = _Groups(table, kernels)
    work = np.array([groups.work_us(run.assignment) for run in runs])
    taken = np.array([run.latency_us for run in runs])
    folds = min(FOLDS, len(runs))
    errors = []
    if folds > 1:
        for fold in range(folds):
            left_out = np.arange(len(runs)) % folds == fold
            factors = _fit(work[~left_out], taken[~left_out])
            errors += np.abs(work[left_out] @ factors / taken[left_out] - 1).tolist()
    fitted = groups.scaled(_fit(work, taken))
    error = float(np.quantile(errors, ERROR_QUANTILE)) if errors else table.error
    return replace(fitted, error=error, held_out=len(errors))


def _fit(work_us: Vector, taken_us: Vector) -> Vector:
    """Return theta for runs (runs, groups)."""
    common = float(np.median(taken_us / work_us.sum(axis=1)))
    groups = work_us.shape[1]
    towards = np.eye(groups) / (PRIOR * common)
    matrix = np.vstack([work_us / taken_us[:, None] / NOISE, towards])
    goal = np.concatenate([np.full(len(taken_us), 1 / NOISE), np.full(groups, 1 / PRIOR)])
    factors: Vector = np.linalg.lstsq(matrix, goal, rcond=None)[0]
    return np.clip(factors, common / 4, common * 4)


class _Groups:
    """The groups of a table, and how much of a run each is."""

    def __init__(self, table: CostTable, kernels: Kernels) -> None:
        self.table = table
        self.group = {site: {c: _group(kernel) for c, kernel in all_.items()} for site, all_ in kernels.sites.items()}
        names = {group for candidates in self.group.values() for group in candidates.values()}
        self.names = sorted(names | {"quantize", "dequantize"})

    def work_us(self, assignment: Assignment) -> Vector:
        """Return F, the microseconds of each group's kernels, without the correction."""
        chosen = self.table.space.complete(assignment)
        total = dict.fromkeys(self.names, 0.0)
        for site, choice in chosen.items():
            total[self.group[site][choice]] += self.table.site_us[site][choice]
        for edge in self.table.space.edges:
            change = conversion(edge, chosen)
            if change is not None:
                total[change] += self.table.conversion_us(edge, chosen)
        return np.array([total[name] for name in self.names])

    def scaled(self, factors: Vector) -> CostTable:
        """Return the table with every entry multiplied by its group's factor."""
        factor = dict(zip(self.names, factors.tolist(), strict=True))
        site_us = {
            site: {c: us * factor[self.group[site][c]] for c, us in times.items()}
            for site, times in self.table.site_us.items()
        }
        return replace(
            self.table,
            site_us=site_us,
            quantize_us=_times(self.table.quantize_us, factor["quantize"]),
            dequantize_us=_times(self.table.dequantize_us, factor["dequantize"]),
        )


def _times(entries_us: Mapping[str, float], factor: float) -> dict[str, float]:
    return {tensor: us * factor for tensor, us in entries_us.items()}


def _group(kernel: Kernel) -> str:
    numbers = "integer" if reads_integers(kernel.scheme) else "float"
    if facts_of(kernel).depthwise:
        return f"{numbers} depthwise"
    return f"{numbers} product" if kernel.op in DENSE else f"{numbers} other"
