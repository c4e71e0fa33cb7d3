"""A device that lies is not believed: what it answers is checked before it is used."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwcomp.devices.agent import wire
from hwcomp.lowering.onnxruntime import Array

MAX_US = 3.6e9
"""No single run takes an hour."""

MAX_KERNELS_TO_WHOLE = 20.0
"""The kernels of one run, one after the other, cannot take many times as long as the run."""


TYPES = {name: np.dtype(name) for name in wire.TYPES}


def times_us(value: object, runs: int | None) -> list[float]:
    """Return the times of runs in microseconds.

    Raises:
        ValueError: in a few words, what cannot be believed: no numbers, too few, NaN, none, negative or absurd.
    """
    if not isinstance(value, list) or not value or not all(_is_number(item) for item in value):
        raise ValueError("times that are no list of numbers")
    if runs is not None and len(value) != runs:
        raise ValueError(f"{len(value)} times for {runs} runs")
    for item in value:
        if not 0.0 < item <= MAX_US:
            raise ValueError(f"{item} us as the time of a run")
    return [float(item) for item in value]


def kernels_us(answer: Mapping[str, Any], runs: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return node -> durations in microseconds, and node -> executions per run, of a profile.

    Raises:
        ValueError: in a few words, what cannot be believed.
    """
    samples, per_run = answer.get("samples"), answer.get("per_run")
    if not isinstance(samples, dict) or not isinstance(per_run, dict) or set(samples) != set(per_run) or not samples:
        raise ValueError("a profile without durations of nodes")
    for name, values in samples.items():
        if not isinstance(values, list) or not values or not all(_is_number(item) for item in values):
            raise ValueError(f"durations of node '{name}' that are no list of numbers")
        wrong = [item for item in values if not 0.0 <= item <= MAX_US]
        if wrong:
            raise ValueError(f"{wrong[0]} us as the duration of node '{name}'")
        if not _is_number(per_run[name]) or not 0.0 < per_run[name] <= 1e6:
            raise ValueError(f"{per_run[name]!r} executions of node '{name}' in a run")
    total = sum(per_run[name] * float(np.median(values)) for name, values in samples.items())
    whole = float(np.median(times_us(answer.get("us"), runs)))
    if total > MAX_KERNELS_TO_WHOLE * whole:
        raise ValueError(f"nodes that take {total:.0f} us in a run that takes {whole:.0f} us")
    return samples, per_run


def arrays(described: object, blobs: Sequence[bytes]) -> list[Array]:
    """Return the arrays in blobs.

    Raises:
        ValueError: their descriptions do not fit.
    """
    if not isinstance(described, list) or len(described) != len(blobs):
        raise ValueError("outputs without descriptions")
    found: list[Array] = []
    for item, blob in zip(described, blobs, strict=True):
        dtype, shape = (item.get("dtype"), item.get("shape")) if isinstance(item, dict) else (None, None)
        try:
            found.append(np.frombuffer(blob, TYPES[str(dtype)]).reshape(shape).copy())
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{len(blob)} bytes as an output of type {dtype!r} and shape {shape!r}") from error
    return found


def printable(text: str) -> str:
    """Return a text of a device without what could confuse a terminal, and not too long."""
    return "".join(character if character.isprintable() else " " for character in text)[:300].strip()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
