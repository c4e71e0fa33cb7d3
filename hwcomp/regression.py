r"""Latency of kernels from their description: a law of speed for each family, and what it leaves learned by trees.

.. math:: \log t = \log \sum_j c_{fj} w_j + \mathrm{trees}_g(x)

f: family, a kind of work in one scheme; w: sums of work (`hwcomp.work`); g: group, the families that share trees; x:
features (`hwcomp.features`) with the law's own prediction among them. The law knows how time grows beyond the sizes
that were seen, the trees know where a runtime is better or worse than that.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwcomp.features import family_of, features_of, group_of
from hwcomp.kernel import Kernel
from hwcomp.law import FLOOR_US, Law, fit_law
from hwcomp.scheme import kind_of_scheme
from hwcomp.trees import Trees, fit_trees, trees_of
from hwcomp.work import TERMS, work_of

Vector = NDArray[np.float64]

LEAST_OF_LAW = 4
"""Kernels of a family that a law of its own needs; else the scheme's law stands in, or that of all kernels."""

LEAST_OF_TREES = 24
"""Kernels of a group that trees of its own need; else the laws stand alone."""

ALL = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Regression:
    """A fitted regression.

    Attributes:
        names: of the features, in the order of the trees' columns; the law's prediction comes last.
        laws: family, scheme, or "" for all kernels -> law.
        trees: group -> trees, for the logarithm of what the law leaves.
    """

    names: tuple[str, ...]
    laws: Mapping[str, Law]
    trees: Mapping[str, Trees]

    def predict_us(self, kernels: Sequence[Kernel]) -> Vector:
        """Return the microseconds of kernels."""
        lawful = np.log(_lawful_us(self.laws, kernels))
        features = np.column_stack([_matrix(kernels, self.names), lawful])
        groups = np.array([group_of(kernel) for kernel in kernels])
        for group, trees in self.trees.items():
            members = groups == group
            lawful[members] += trees.predict(features[members])
        times: Vector = np.maximum(np.exp(lawful), FLOOR_US)
        return times

    def as_data(self) -> dict[str, Any]:
        """Return the regression as JSON holds it."""
        return {
            "names": list(self.names),
            "laws": {name: list(law.coefficients) for name, law in self.laws.items()},
            "trees": {group: trees.as_data() for group, trees in self.trees.items()},
        }


def fit_regression(kernels: Sequence[Kernel], times_us: Vector, seed: int) -> Regression:
    """Return the regression of kernels and their microseconds."""
    times_us = np.maximum(times_us, FLOOR_US)
    laws = _fit_laws(kernels, times_us)
    names = tuple(sorted({name for kernel in kernels for name in features_of(kernel)}))
    lawful = np.log(_lawful_us(laws, kernels))
    features = np.column_stack([_matrix(kernels, names), lawful])
    groups = np.array([group_of(kernel) for kernel in kernels])
    trees = {}
    for group, count in sorted(Counter(groups.tolist()).items()):
        if count >= LEAST_OF_TREES:
            members = groups == group
            trees[group] = fit_trees(features[members], (np.log(times_us) - lawful)[members], seed)
    return Regression(names=names, laws=laws, trees=trees)


def regression_of(data: Any) -> Regression:
    """Return the regression that JSON holds.

    Raises:
        ValueError: something is missing or wrong.
    """
    try:
        names, coefficients, trees = tuple(map(str, data["names"])), dict(data["laws"]), dict(data["trees"])
        laws = {str(name): Law(tuple(map(float, values))) for name, values in coefficients.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the regression is incomplete ({error!r:.80})") from error
    if ALL not in laws:
        raise ValueError("there is no law for kernels of no known family")
    for name, law in laws.items():
        values = np.array(law.coefficients)
        if len(values) != TERMS or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"the law of '{name}' is not {TERMS} finite numbers, none negative")
    return Regression(
        names=names, laws=laws, trees={str(group): trees_of(data, len(names) + 1) for group, data in trees.items()}
    )


def _fit_laws(kernels: Sequence[Kernel], times_us: Vector) -> dict[str, Law]:
    """Return the laws of all families; kernels that took no time at all were fused, and tell nothing of the law."""
    work = np.array([work_of(kernel) for kernel in kernels])
    timed = times_us > FLOOR_US
    laws = {ALL: fit_law(work[timed], times_us[timed])}
    for name_of in (_scheme_of, family_of):
        names = np.array([name_of(kernel) for kernel in kernels])
        for name, count in sorted(Counter(names[timed].tolist()).items()):
            if count >= LEAST_OF_LAW:
                members = timed & (names == name)
                laws[name] = fit_law(work[members], times_us[members])
    return laws


def _lawful_us(laws: Mapping[str, Law], kernels: Sequence[Kernel]) -> Vector:
    """Return what the nearest law says of each kernel."""
    nearest = [next(name for name in (family_of(k), _scheme_of(k), ALL) if name in laws) for k in kernels]
    work, names = np.array([work_of(kernel) for kernel in kernels]), np.array(nearest)
    times = np.empty(len(kernels))
    for name in set(nearest):
        times[names == name] = laws[name].predict_us(work[names == name])
    return times


def _scheme_of(kernel: Kernel) -> str:
    return kind_of_scheme(kernel.scheme)


def _matrix(kernels: Sequence[Kernel], names: Sequence[str]) -> Vector:
    """Return the features of kernels (kernels, names); words that were never seen have no column."""
    column = {name: index for index, name in enumerate(names)}
    matrix = np.zeros((len(kernels), len(names)))
    for row, kernel in enumerate(kernels):
        for name, value in features_of(kernel).items():
            if name in column:
                matrix[row, column[name]] = value
    return matrix
