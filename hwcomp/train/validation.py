"""How good a network is on labelled data that it is not trained on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hwcomp.errors import InputError
from hwcomp.program import Inputs
from hwcomp.train.feed import Batch
from hwcomp.train.objective import forward
from hwcomp.train.processes import Processes
from hwcomp.workload import Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Labelled batches and the metric, of which larger is better.

    Attributes:
        batches: pairs (inputs, targets).
        metric: of outputs and targets; a mean over the samples of a batch.

    Raises:
        InputError: there is no batch.
    """

    batches: Sequence[tuple[Inputs, Any]]
    metric: Metric

    def __post_init__(self) -> None:
        if not self.batches:
            raise InputError("The validation data is empty; give at least one batch, or none at all.")


def validate(model: nn.Module, validation: Validation, processes: Processes) -> float:
    """Return the metric of a model in eval mode, a mean over all samples; processes share the batches.

    Raises:
        InputError: the metric fails, or gives NaN.
    """
    model.eval()
    total = torch.zeros(2, dtype=torch.float64)
    with torch.inference_mode():
        for index, (inputs, targets) in enumerate(validation.batches):
            if index % processes.count == processes.rank:
                batch = processes.moved(Batch(inputs=inputs, targets=targets))
                score = _score(validation.metric, forward(model, batch.inputs), batch.targets)
                total += torch.tensor([score * batch.size, batch.size], dtype=torch.float64)
    summed, samples = processes.summed(total).tolist()
    return float(summed / samples)


def _score(metric: Metric, outputs: Any, targets: Any) -> float:
    try:
        score = float(metric(outputs, targets))
    except Exception as error:
        raise InputError(f"The metric failed on a validation batch: {type(error).__name__}: {error}") from error
    if math.isnan(score):
        raise InputError("The metric gave NaN on a validation batch; make it return a number for every batch.")
    return score
