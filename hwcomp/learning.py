"""Fits a learned model to rows of the latency store, and finds out what it is worth."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from hwcomp.errors import InputError
from hwcomp.features import SIZES, family_of, features_of
from hwcomp.kernel import Kernel, parse
from hwcomp.learned_model import LearnedModel, Range
from hwcomp.regression import fit_regression
from hwcomp.store import KernelRow, now

Vector = NDArray[np.float64]

LEAST_SAMPLES = 100
"""Kernels below which an error of held-out ones says nothing."""

HELD_OUT = 0.15
FOLDS = 3
RESOLUTION_US = 1.0
"""What takes less counts as this much when errors are told."""

BLOCKS = {
    "pointwise convolution": ("dense", "residual"), "spatial convolution": ("dense", "residual"),
    "depthwise convolution": ("depthwise",), "grouped convolution": ("grouped",), "hardsigmoid": ("depthwise",),
    "mul": ("depthwise",), "cat": ("branches",), "add": ("residual", "tokens"), "max_pool2d": ("pooling",),
    "avg_pool2d": ("pooling",), "linear": ("tokens",), "attention": ("tokens",), "matmul": ("tokens",),
    "layer_norm": ("tokens",), "gelu": ("tokens",), "transpose": ("tokens",), "reshape": ("tokens",),
}  # fmt: skip
"""Kind of work -> blocks of `hwcomp.sampling` that are rich in it."""

LEAST_WEIGHT, GREATEST_WEIGHT = 0.5, 3.0


def fit(rows: Sequence[KernelRow], seed: int, setting: str = "") -> LearnedModel:
    """Return a model of the rows; a kernel with several rows counts by their median.

    Args:
        rows: of one device, runtime and number of threads.
        seed: of which kernels are held out.
        setting: device, runtime and threads, for people.

    Raises:
        InputError: there are too few rows, of several provenances, or one of no kernel.
    """
    kernels, times_us = _samples(rows)
    order = np.random.default_rng(seed).permutation(len(kernels))
    held_out, rest = np.split(order, [round(HELD_OUT * len(kernels))])
    seen, left_out = _predicted(kernels, times_us, rest, held_out, seed), np.zeros(0)
    for part in np.array_split(rest, FOLDS):
        left_out = np.append(left_out, _predicted(kernels, times_us, np.setdiff1d(rest, part), part, seed))
    unseen_errors = log_errors(seen, times_us[held_out])
    fold_errors = log_errors(left_out, times_us[rest])
    return LearnedModel(
        regression=fit_regression(kernels, times_us, seed),
        errors=_by_family([kernels[i] for i in rest], fold_errors),
        ranges=_ranges(kernels),
        kfold_error=relative(fold_errors),
        held_out_error=relative(unseen_errors),
        held_out_within_10=float((unseen_errors <= np.log(1.10)).mean()),
        held_out_within_25=float((unseen_errors <= np.log(1.25)).mean()),
        samples=len(kernels),
        setting=setting,
        date=now(),
        provenance=rows[0].provenance,
    )


def log_errors(predicted_us: Vector, times_us: Vector) -> Vector:
    """Return the sizes of the logarithms of ratios."""
    predicted, times = (np.log(np.maximum(us, RESOLUTION_US)) for us in (predicted_us, times_us))
    errors: Vector = np.abs(predicted - times)
    return errors


def relative(errors: Vector) -> float:
    """Return the mean relative error of errors of logarithms."""
    return float(np.expm1(errors.mean()))


def worst_families(model: LearnedModel) -> dict[str, float]:
    """Return block of `hwcomp.sampling` -> how much more often to draw it, from where the model errs most."""
    errors: dict[str, list[float]] = {}
    for family, error in model.errors.items():
        for block in BLOCKS.get(family.rsplit(" ", 1)[0], ()):
            errors.setdefault(block, []).append(error)
    means = {block: fmean(found) for block, found in errors.items()}
    usual = fmean(means.values()) if means else 0.0
    if usual == 0:
        return dict.fromkeys(means, 1.0)
    return {block: min(GREATEST_WEIGHT, max(LEAST_WEIGHT, error / usual)) for block, error in means.items()}


def _samples(rows: Sequence[KernelRow]) -> tuple[list[Kernel], Vector]:
    """Return kernels and their microseconds."""
    times: dict[str, list[float]] = {}
    for row in rows:
        times.setdefault(row.kernel, []).append(row.median_us)
    if len(times) < LEAST_SAMPLES:
        raise InputError(
            f"A learned model needs the latencies of at least {LEAST_SAMPLES} different kernels, found {len(times)}; "
            "measure more of them with `hwcomp profile --minutes`."
        )
    if len(kinds := sorted({row.provenance for row in rows})) > 1:
        raise InputError(f"A learned model is of one kind of latency, found {' and '.join(kinds)}; fit them apart.")
    try:
        kernels = [parse(key) for key in times]
    except ValueError as error:
        raise InputError(f"The latencies hold a row of no kernel: {error}; remove it.") from error
    return kernels, np.array([median(found) for found in times.values()])


def _predicted(
    kernels: Sequence[Kernel], times_us: Vector, fitted: NDArray[np.int64], asked: NDArray[np.int64], seed: int
) -> Vector:
    """Return what a fit to some of the kernels says of others."""
    regression = fit_regression([kernels[i] for i in fitted], times_us[fitted], seed)
    return regression.predict_us([kernels[i] for i in asked])


def _by_family(kernels: Sequence[Kernel], errors: Vector) -> Mapping[str, float]:
    families = np.array([family_of(kernel) for kernel in kernels])
    return {str(family): relative(errors[families == family]) for family in np.unique(families)}


def _ranges(kernels: Sequence[Kernel]) -> dict[str, tuple[Range, ...]]:
    found: dict[str, list[tuple[float, ...]]] = {}
    for kernel in kernels:
        features = features_of(kernel)
        found.setdefault(family_of(kernel), []).append(tuple(features.get(name, 0.0) for name in SIZES))
    return {
        family: tuple((min(values), max(values)) for values in zip(*sizes, strict=True))
        for family, sizes in found.items()
    }
