r"""Functions of one float that compile to vector instructions: no calls of a mathematical library.

.. math:: e^x = 2^k e^r, \quad k = \lfloor x / \ln 2 + 1/2 \rfloor, \quad r = x - k \ln 2

with the Taylor series of :math:`e^r`, |r| <= ln(2) / 2, up to the 7th power (relative error 1e-8, less than rounding).
"""

import math
from typing import Any

from tvm import tirx

LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts; products of the first with small integers are exact."""

LOWEST, HIGHEST = -87.0, 88.0
"""Beyond, the result is no normal float."""

TERMS = [1 / math.factorial(power) for power in range(8)]

ERF = (0.3275911, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))
"""Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: p, and coefficients of the highest power first."""


def _constant(value: float) -> Any:
    return tirx.const(value, "float32")


def exp(x: Any) -> Any:
    """Return e^x."""
    x = tirx.max(tirx.min(x, _constant(HIGHEST)), _constant(LOWEST))
    k = tirx.floor(x * _constant(1 / math.log(2)) + _constant(0.5))
    r = x - k * _constant(LN2_HIGH) - k * _constant(LN2_LOW)
    series = _constant(TERMS[-1])
    for term in reversed(TERMS[:-1]):
        series = series * r + _constant(term)
    power = (k.astype("int32") + tirx.const(127, "int32")) << tirx.const(23, "int32")
    return series * tirx.reinterpret("float32", power)


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x)."""
    return _constant(1.0) / (_constant(1.0) + exp(-x))


def silu(x: Any) -> Any:
    """Return x sigmoid(x)."""
    return x * sigmoid(x)


def tanh(x: Any) -> Any:
    """Return 1 - 2 / (e^2x + 1)."""
    return _constant(1.0) - _constant(2.0) / (exp(x + x) + _constant(1.0))


def erf(x: Any) -> Any:
    """Return the error function, to 1.5e-7."""
    size = tirx.max(x, -x)
    t = _constant(1.0) / (_constant(1.0) + _constant(ERF[0]) * size)
    series = _constant(0.0)
    for term in ERF[1]:
        series = (series + _constant(term)) * t
    value = _constant(1.0) - series * exp(-size * size)
    return tirx.Select(x < _constant(0.0), -value, value)


def gelu(x: Any) -> Any:
    """Return x (1 + erf(x / sqrt 2)) / 2."""
    return x * _constant(0.5) * (_constant(1.0) + erf(x * _constant(math.sqrt(0.5))))


def gelu_tanh(x: Any) -> Any:
    """Return x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    cubed = x * x * x
    inner = _constant(math.sqrt(2 / math.pi)) * (x + _constant(0.044715) * cubed)
    return x * _constant(0.5) * (_constant(1.0) + tanh(inner))
