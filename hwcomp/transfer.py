r"""A table of one device made to stand for another, with a few measurements on it.

.. math:: \log t = \log s + \theta \cdot x

s: what the source says of a kernel; x: 1, the kernel's kind, its scheme, both together, and how the logarithm of s
differs from the usual. Ridge regression draws everything but the common factor towards none, so a handful of kernels
suffices; how strongly, is what predicts each measurement best from the others, which also tells the error.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwcomp.analysis import facts_of
from hwcomp.errors import InputError
from hwcomp.features import family_of, kind_of
from hwcomp.kernel import BOUNDARIES, Kernel, parse
from hwcomp.learning import log_errors, relative
from hwcomp.scheme import kind_of_scheme
from hwcomp.store import KernelRow
from hwcomp.work import moved_bytes

Vector = NDArray[np.float64]
Source = Callable[[Kernel], float]
"""Kernel -> microseconds on the other device: `LearnedModel.predict_us`, or rows that are looked up."""

LEAST_SAMPLES = 4
PENALTIES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
COMMON_PENALTY = 1e-6
"""Of the common factor: none, but for the numerics."""

ANOTHER = 8.0
"""How far apart kernels of another kind or scheme are, in powers of two of work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transferred:
    """Predictions for a device from those for another.

    Attributes:
        source: what is known of the other device.
        factors: "", kind, scheme or family -> logarithm of the factor between the devices.
        growth: how much the logarithm of the factor grows with that of the source's latency.
        usual: logarithm of the source's latency at which it has grown by nothing.
        error: mean relative error of each measurement, predicted from the others.
        samples: measurements.
    """

    source: Source
    factors: Mapping[str, float]
    growth: float
    usual: float
    error: float
    samples: int

    def predict_us(self, kernel: Kernel) -> float:
        """Return the latency on this device in microseconds."""
        known = math.log(self.source(kernel))
        factor = sum(self.factors.get(name, 0.0) for name in _names(kernel))
        return math.exp(known + factor + self.growth * (known - self.usual))


def transfer(source: Source, rows: Sequence[KernelRow]) -> Transferred:
    """Return predictions for the device that the rows were measured on.

    Raises:
        InputError: there are too few rows, or one of no kernel.
    """
    if len(rows) < LEAST_SAMPLES:
        raise InputError(
            f"Latencies of another device need at least {LEAST_SAMPLES} measurements on this one, found {len(rows)}; "
            "about 20 of different kinds are better."
        )
    try:
        kernels = [parse(row.kernel) for row in rows]
    except ValueError as error:
        raise InputError(f"The latencies hold a row of no kernel: {error}; remove it.") from error
    known = np.log([source(kernel) for kernel in kernels])
    wanted = np.log([row.median_us for row in rows]) - known
    names = sorted({name for kernel in kernels for name in _names(kernel)})
    usual = float(known.mean())
    present = np.array([[float(name in _names(kernel)) for name in names] for kernel in kernels])
    matrix = np.column_stack([present, known - usual])
    penalized = np.array([name != "" for name in names] + [True])
    left_out = {penalty: _left_out(matrix, wanted, _penalties(penalized, penalty)) for penalty in PENALTIES}
    best = min(left_out, key=lambda penalty: float(np.abs(left_out[penalty] - wanted).mean()))
    theta = _fit(matrix, wanted, _penalties(penalized, best))
    times_us = np.array([row.median_us for row in rows])
    return Transferred(
        source=source,
        factors=dict(zip(names, theta[:-1].tolist(), strict=True)),
        growth=float(theta[-1]),
        usual=usual,
        error=relative(log_errors(np.exp(known + left_out[best]), times_us)),
        samples=len(rows),
    )


def choose(kernels: Sequence[Kernel], count: int) -> list[Kernel]:
    """Return kernels to measure: as unlike each other as can be in kind, scheme and amount of work.

    Conversions are not among them: they cannot be measured alone.
    """
    candidates = list({kernel.key: kernel for kernel in kernels if kernel.op not in BOUNDARIES}.values())
    if len(candidates) <= count:
        return candidates
    work = np.array([_log_work(kernel) for kernel in candidates])
    kinds = np.array([kind_of(kernel) for kernel in candidates])
    schemes = np.array([kind_of_scheme(kernel.scheme) for kernel in candidates])
    chosen = [int(np.argsort(work)[len(work) // 2])]
    distance = np.full(len(candidates), math.inf)
    while len(chosen) < count:
        last = chosen[-1]
        differs = (kinds != kinds[last]).astype(float) + (schemes != schemes[last])
        distance = np.minimum(distance, np.abs(work - work[last]) + ANOTHER * differs)
        chosen.append(int(distance.argmax()))
    return [candidates[index] for index in chosen]


def _names(kernel: Kernel) -> tuple[str, ...]:
    """Return what a kernel's factor is the product of."""
    return "", f"kind {kind_of(kernel)}", f"scheme {kind_of_scheme(kernel.scheme)}", f"family {family_of(kernel)}"


def _log_work(kernel: Kernel) -> float:
    return math.log2(1 + facts_of(kernel).macs + moved_bytes(kernel))


def _penalties(penalized: NDArray[np.bool_], penalty: float) -> Vector:
    return np.where(penalized, penalty, COMMON_PENALTY)


def _fit(matrix: Vector, wanted: Vector, penalties: Vector) -> Vector:
    return np.asarray(np.linalg.solve(matrix.T @ matrix + np.diag(penalties), matrix.T @ wanted), np.float64)


def _left_out(matrix: Vector, wanted: Vector, penalties: Vector) -> Vector:
    """Return what each row is predicted from the others; for a ridge regression that follows from its own fit."""
    hat = matrix @ np.linalg.solve(matrix.T @ matrix + np.diag(penalties), matrix.T)
    residuals = (wanted - hat @ wanted) / np.maximum(1 - np.diag(hat), 1e-9)
    return np.asarray(wanted - residuals, np.float64)
