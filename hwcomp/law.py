r"""A law of speed: time as a mixture of sums of work, no share of which is negative.

.. math:: t = \sum_j c_j w_j, \qquad c_j \ge 0

It is fitted to relative errors, and rows that something disturbed count little: the weights of non-negative least
squares [Lawson1974]_ are found again from the errors of the last fit.

.. [Lawson1974] C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems", Prentice-Hall, 1974.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Vector = NDArray[np.float64]

FLOOR_US = 0.5
"""Nothing is said to be faster: half of what a runtime's profiler resolves."""

PASSES = 8
SMALL_ERROR = 0.05
"""Of the logarithm; below, all errors weigh the same."""


@dataclass(frozen=True, slots=True)
class Law:
    """The microseconds of each unit of work.

    Attributes:
        coefficients: (terms,), see `hwcomp.work.work_of`.
    """

    coefficients: tuple[float, ...]

    def predict_us(self, work: Vector) -> Vector:
        """Return the microseconds of kernels with the given work (kernels, terms), never under the floor."""
        times: Vector = np.maximum(work @ np.array(self.coefficients), FLOOR_US)
        return times


def fit_law(work: Vector, times_us: Vector) -> Law:
    """Return the law of kernels with the given work (kernels, terms)."""
    largest = np.maximum(work.max(axis=0), 1.0)
    scaled, weights = work / largest, 1 / times_us
    coefficients = np.zeros(work.shape[1])
    for _ in range(PASSES):
        coefficients = nnls(scaled * weights[:, None], times_us * weights)[0]
        predicted = np.maximum(scaled @ coefficients, FLOOR_US)
        errors = np.abs(np.log(times_us / predicted))
        weights = 1 / (times_us * np.sqrt(np.maximum(errors, SMALL_ERROR)))
    return Law(tuple((coefficients / largest).tolist()))
