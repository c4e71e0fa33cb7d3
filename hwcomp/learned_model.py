"""A regression fitted to the latencies of a device, with what it is known to be worth: its error on unseen kernels."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from hwcomp.errors import InputError
from hwcomp.features import SIZES, family_of, features_of
from hwcomp.kernel import Kernel
from hwcomp.provenance import Provenance
from hwcomp.regression import Regression, regression_of

Vector = NDArray[np.float64]
Range = tuple[float, float]

FORMAT = 1
NUMBERS = ("kfold_error", "held_out_error", "held_out_within_10", "held_out_within_25", "samples")
TEXTS = ("setting", "date", "provenance")

SLACK = 1.0
"""How far beyond the fitted sizes a prediction is still no extrapolation, in powers of two."""

EXTRAPOLATED = 2.0
"""How many times the usual error a prediction has beyond the sizes that were fitted."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearnedModel:
    r"""Predicts the latency of kernels that were not measured.

    Relative errors are those of logarithms, :math:`e^{|\ln(p/t)|} - 1`, means of them geometric; what takes less than
    a microsecond counts as one, because profilers resolve no less.

    Attributes:
        regression: what was fitted.
        errors: family -> mean relative error, by cross-validation.
        ranges: family -> least and greatest of `hwcomp.features.SIZES` that were fitted, in powers of two.
        kfold_error: mean relative error, by cross-validation.
        held_out_error: mean relative error of kernels that no choice and no fit has seen before they were predicted.
        held_out_within_10: share of those predicted within 10 %.
        held_out_within_25: share of those predicted within 25 %.
        samples: kernels that it was fitted to.
        setting: device, runtime and threads, for people.
        date: ISO, of the fit.
        provenance: of the latencies.
    """

    regression: Regression
    errors: Mapping[str, float]
    ranges: Mapping[str, tuple[Range, ...]]
    kfold_error: float
    held_out_error: float
    held_out_within_10: float
    held_out_within_25: float
    samples: int
    setting: str
    date: str
    provenance: Provenance

    def predict_us(self, kernel: Kernel) -> float:
        """Return the latency of a kernel in microseconds; see `covers` for how far to believe it."""
        return float(self.regression.predict_us([kernel])[0])

    def covers(self, kernel: Kernel) -> bool:
        """Return whether the model was fitted to kernels of this family and about this size."""
        ranges, found = self.ranges.get(family_of(kernel)), features_of(kernel)
        if ranges is None:
            return False
        sizes = zip(SIZES, ranges, strict=True)
        return all(low - SLACK <= found.get(name, 0.0) <= high + SLACK for name, (low, high) in sizes)

    def error(self, kernel: Kernel) -> float:
        """Return the relative error to expect of a prediction."""
        usual = self.errors.get(family_of(kernel), max(self.errors.values()))
        return usual if self.covers(kernel) else EXTRAPOLATED * usual

    def to_json(self) -> str:
        """Return the model as text."""
        plain = {name: getattr(self, name) for name in (*NUMBERS, *TEXTS)}
        ranges = {family: [list(pair) for pair in pairs] for family, pairs in self.ranges.items()}
        content = {"format": FORMAT, **plain, "errors": dict(self.errors), "ranges": ranges}
        return json.dumps(content | {"regression": self.regression.as_data()}, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "LearnedModel":
        """Return the model that a text holds.

        Raises:
            InputError: it holds none, or a damaged one.
        """
        try:
            return cls(**_fields(json.loads(text)))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"This is no learned model that can be used: {error}; make it again with `hwcomp profile`."
            ) from error


def _fields(content: Any) -> dict[str, Any]:
    """Return the checked fields of a model; ValueError says what is wrong."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"it is not of format {FORMAT}")
    expected = {field.name for field in fields(LearnedModel)}
    if wrong := sorted(expected ^ (content.keys() - {"format"})):
        raise ValueError(f"field '{wrong[0]}' is missing or unknown")
    if not all(isinstance(content[name], str) for name in TEXTS) or content["provenance"] not in get_args(Provenance):
        raise ValueError("its setting, date or provenance is not what it should be")
    errors, ranges = content["errors"], content["ranges"]
    numbers = [content[name] for name in NUMBERS]
    if not (isinstance(errors, dict) and errors and all(map(_is_size, [*numbers, *errors.values()]))):
        raise ValueError("its errors are not finite numbers, none negative")
    plain = {name: content[name] for name in (*NUMBERS, *TEXTS, "errors")}
    return plain | {"ranges": _ranges(ranges), "regression": regression_of(content["regression"])}


def _ranges(data: Any) -> dict[str, tuple[Range, ...]]:
    try:
        ranges = {str(family): tuple((float(low), float(high)) for low, high in data[family]) for family in data}
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError("its ranges of sizes are not pairs of numbers") from error
    if any(len(pairs) != len(SIZES) for pairs in ranges.values()):
        raise ValueError(f"its ranges are not of {len(SIZES)} sizes")
    if not all(math.isfinite(end) for pairs in ranges.values() for pair in pairs for end in pair):
        raise ValueError("its ranges of sizes are not finite")
    return ranges


def _is_size(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
