"""Chooses calibration and validation inputs from what the workload has; test data is never among them."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.generate import generate_inputs
from hwcomp.program import Inputs
from hwcomp.workload import Workload, samples

Keep = Callable[[Callable[[], bytes]], bytes]

VALIDATION_SAMPLES = 1000
"""Labelled samples to choose by: enough to tell half a point apart, few enough to look at again and again."""


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """What a search may look at.

    Attributes:
        inputs: calibration inputs, each of the example's shape.
        source: in words, where they come from.
        validation: labelled samples (inputs, targets) of the training data that calibration does not use.
    """

    inputs: list[Inputs]
    source: str
    validation: list[tuple[Inputs, Any]]


def search_data(
    workload: Workload,
    count: int,
    seed: int,
    progress: Callable[[float], None] = lambda _: None,
    kept: Keep = lambda compute: compute(),
) -> SearchData:
    """Return calibration data from ``calibration_data``, else ``train_data``, else generated.

    Args:
        workload: where the data is.
        count: of calibration inputs.
        seed: of generated ones.
        progress: called with the share of the generation that is done.
        kept: keeps what was generated, and gives it back instead of generating it again.

    Raises:
        InputError: the data is empty, does not fit the model, or holds NaN or infinity.
    """
    for name in ("calibration_data", "train_data"):
        batches = _batches(workload, name)
        if batches is None:
            continue
        reader = samples(batches, workload.example_inputs, name)
        inputs = [_checked(x, name) for x, _ in islice(reader, count)]
        if not inputs:
            raise InputError(f"{name} is empty; give at least one batch, or leave it out to have inputs generated.")
        labelled = _validation(workload, reader if name == "train_data" else _left_by_calibration(workload, count))
        return SearchData(inputs=inputs, source=f"{len(inputs)} inputs of {name}", validation=labelled)

    def generate() -> bytes:
        content = io.BytesIO()
        torch.save(generate_inputs(workload.model, workload.example_inputs, count, seed, progress=progress), content)
        return content.getvalue()

    inputs, source = torch.load(io.BytesIO(kept(generate)), weights_only=True)
    return SearchData(inputs=inputs, source=source, validation=_validation(workload, iter(())))


def validation_samples(workload: Workload, count: int) -> list[tuple[Inputs, Any]]:
    """Return the labelled samples of `search_data`, without what else it reads.

    Args:
        workload: whose ``validation_data`` or ``train_data`` they are of.
        count: calibration inputs; where they come from ``train_data``, they are not among the samples.

    Raises:
        InputError: the data does not fit the model.
    """
    return _validation(workload, _left_by_calibration(workload, count))


def _validation(workload: Workload, rest: Iterator[tuple[Inputs, Any]]) -> list[tuple[Inputs, Any]]:
    """Return labelled samples to choose by: of ``validation_data``, else what calibration left of the training data."""
    batches = _batches(workload, "validation_data")
    reader = rest if batches is None else samples(batches, workload.example_inputs, "validation_data")
    return [(x, y) for x, y in islice(reader, VALIDATION_SAMPLES) if y is not None]


def _left_by_calibration(workload: Workload, count: int) -> Iterator[tuple[Inputs, Any]]:
    batches = _batches(workload, "train_data")
    if batches is not None:
        taken = count if _batches(workload, "calibration_data") is None else 0
        yield from islice(samples(batches, workload.example_inputs, "train_data"), taken, None)


def _batches(workload: Workload, name: str) -> Iterable[Any] | None:
    source = getattr(workload, name)
    if source is None:
        return None
    try:
        batches: Iterable[Any] | None = source() if callable(source) else source
    except Exception as error:
        raise InputError(f"{name}() failed: {type(error).__name__}: {error}.") from error
    return batches


def joined_targets(targets: Sequence[Any]) -> Tensor:
    """Return the targets of several samples, each one number or with the samples along axis 0, as one tensor."""
    return torch.cat([x if x.ndim else x.reshape(1) for x in map(torch.as_tensor, targets)])


def joined_samples(labelled: Sequence[tuple[Inputs, Any]], size: int) -> list[tuple[Inputs, Tensor]]:
    """Return batches of so many samples each, the last one with what is left."""
    groups = [labelled[start : start + size] for start in range(0, len(labelled), size)]
    columns = [zip(*(inputs for inputs, _ in group), strict=True) for group in groups]
    return [
        (tuple(torch.cat(parts) for parts in column), joined_targets([y for _, y in group]))
        for column, group in zip(columns, groups, strict=True)
    ]


def eval_samples(workload: Workload) -> Iterable[tuple[Inputs, Any]] | None:
    """Return the labelled test samples, or None if the workload has none."""
    batches = _batches(workload, "eval_data")
    return None if batches is None else samples(batches, workload.example_inputs, "eval_data")


def check_eval_data(workload: Workload) -> None:
    """Look at the first test sample before any work is done; data that can be read only once is left alone.

    Raises:
        InputError: it is empty or does not fit the model.
    """
    batches = _batches(workload, "eval_data")
    if batches is None or is_read_once(workload, "eval_data", batches):
        return
    first = next(samples(batches, workload.example_inputs, "eval_data"), None)
    if first is None:
        raise InputError("eval_data is empty; give at least one batch, or leave it out.")
    if first[1] is None:
        raise InputError("eval_data has no targets; give batches (inputs, targets), or leave it out.")


def train_batches(workload: Workload) -> Iterable[Any]:
    """Return the batches to train on.

    Raises:
        InputError: there are none.
    """
    batches = _batches(workload, "train_data")
    if batches is None and workload.train_data is not None:
        raise InputError(
            "The method trains the network, and train_data gives None: what it reads is probably missing; it must give "
            "batches (inputs, targets)."
        )
    if batches is None:
        raise InputError(
            "The method trains the network; define train_data() in the model's file, a function that gives batches "
            "(inputs, targets)."
        )
    return batches


def is_read_once(workload: Workload, name: str, batches: Iterable[Any]) -> bool:
    """Return whether data that a function gave is the same iterator each time, so that what was read of it is gone."""
    return isinstance(batches, Iterator) and batches is _batches(workload, name)


def _checked(inputs: Inputs, name: str) -> Inputs:
    for x in inputs:
        if isinstance(x, Tensor) and x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise InputError(f"{name} holds NaN or infinity; clean it before calibrating.")
    return inputs
