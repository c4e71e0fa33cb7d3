"""What an exported network computes: its outputs, their distance from another's, and its accuracy."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwcomp.data import joined_targets
from hwcomp.devices import CPU
from hwcomp.errors import InputError
from hwcomp.lowering.onnxruntime import Array
from hwcomp.program import Inputs
from hwcomp.sessions import open_model
from hwcomp.target import usable_cores
from hwcomp.workload import Metric, located

GROUP = 256
"""Samples that are scored together: metrics get batches of this size."""

VALIDATION_S = 8.0
"""What the comparison of two networks on held-out samples may take, about."""

FEWEST_VALIDATED = 100


class Runner:
    """Runs an exported network on torch tensors, here.

    Args:
        model: ONNX file, or library of TVM.
        threads: of the processor; no more than it has are used.
        provider: what computes, see `hwcomp.devices.agent.providers`.
    """

    def __init__(self, model: bytes | Path, threads: int, provider: str = CPU) -> None:
        self.session = open_model(model, min(threads, usable_cores()), provider)
        self.names = [item.name for item in self.session.get_inputs()]

    def __call__(self, inputs: Inputs) -> tuple[Array, ...]:
        """Return the outputs for one set of inputs."""
        feed = {name: x.detach().numpy() for name, x in zip(self.names, inputs, strict=True)}
        return tuple(self.session.run(None, feed))


def output_distance(reference: Sequence[tuple[Array, ...]], model: bytes | Path, inputs: Sequence[Inputs]) -> float:
    """Return the `distance` of a network's outputs from reference outputs."""
    runner = Runner(model, threads=1)
    return distance(reference, [runner(batch) for batch in inputs])


def distance(reference: Sequence[Sequence[Array]], found: Sequence[Sequence[Array]]) -> float:
    r"""Return :math:`\| f - \hat f \| / \| f \|` of outputs for the same inputs; infinite where one is no number."""
    moved, scale = 0.0, 0.0
    for expected, outputs in zip(reference, found, strict=True):
        for before, after in zip(expected, outputs, strict=True):
            moved += float(np.square(before.astype(np.float64) - after.astype(np.float64)).sum())
            scale += float(np.square(before.astype(np.float64)).sum())
    off = float(np.sqrt(moved / max(scale, 1e-30)))
    return off if math.isfinite(off) else math.inf


def reference_outputs(model: bytes | Path, inputs: Sequence[Inputs]) -> list[tuple[Array, ...]]:
    """Return the outputs of a network for each input."""
    runner = Runner(model, threads=1)
    return [runner(batch) for batch in inputs]


def accuracies(
    runners: Sequence[Runner],
    labelled: Iterable[tuple[Inputs, Any]],
    metric: Metric,
    progress: Callable[[], None] = lambda: None,
) -> list[float]:
    """Return the metric of each network over labelled samples, weighted by samples; the data is read once."""
    scores = [0.0 for _ in runners]
    total, group = 0, []
    for sample in labelled:
        group.append(sample)
        if len(group) == GROUP:
            total += _score(runners, group, metric, scores)
            progress()
            group = []
    if group:
        total += _score(runners, group, metric, scores)
    return [score / max(total, 1) for score in scores]


def points_lost(
    before: Runner, after: Runner, labelled: Iterable[tuple[Inputs, Any]], metric: Metric, latency_us: float
) -> float:
    """Return how much of the metric a network loses against another, on as many samples as fit `VALIDATION_S`."""
    count = max(FEWEST_VALIDATED, int(VALIDATION_S * 1e6 / (2 * max(latency_us, 1.0))))
    first, second = accuracies([before, after], islice(labelled, count), metric)
    return first - second


def _score(runners: Sequence[Runner], group: Sequence[tuple[Inputs, Any]], metric: Metric, scores: list[float]) -> int:
    targets = joined_targets([y for _, y in group])
    for index, runner in enumerate(runners):
        outputs = [runner(x) for x, _ in group]
        columns = [torch.from_numpy(np.concatenate(column)) for column in zip(*outputs, strict=True)]
        result: Any = columns[0] if len(columns) == 1 else tuple(columns)
        try:
            score = float(metric(result, targets))
        except Exception as error:
            raise InputError(f"The metric failed on {len(group)} samples: {located(error, None)}") from error
        scores[index] += score * len(group)
    return len(group)
