"""Batches to train on, from whatever the user has: a loader, a list, an iterator, or a function that gives one."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hwcomp.errors import InputError
from hwcomp.program import Inputs
from hwcomp.train.seeds import Stream
from hwcomp.workload import split_batch

AGAIN = "make it a function that gives a new iterable each time, or a loader or list that can be read again"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainData:
    """What is trained on.

    Attributes:
        batches: of any size: tensors, pairs (inputs, targets) or dicts, as an iterable or a function that gives one.
        example_inputs: as the network takes them; all but the size of the batch is checked against them.
        name: for errors.
        steps: batches in an epoch, where the data does not know its length or has no end; longer data is cut.
    """

    batches: Callable[[], Iterable[Any] | None] | Iterable[Any]
    example_inputs: Inputs
    name: str = "train_data"
    steps: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Inputs, each with the samples along axis 0, and targets or None."""

    inputs: Inputs
    targets: Any

    @property
    def size(self) -> int:
        """Number of samples."""
        return self.inputs[0].shape[0] if self.inputs[0].ndim else 1


class Epoch:
    """One pass over the data.

    Attributes:
        length: number of batches, or None if that is not known.
    """

    def __init__(self, data: TrainData, seed: int, number: int) -> None:
        self._data, self._number = data, number
        self._stream = Stream(seed, number)
        with self._stream.active(), reading(data.name):
            source: Any = data.batches() if callable(data.batches) else data.batches
        if source is None or isinstance(source, (str, bytes)) or not hasattr(source, "__iter__"):
            raise InputError(
                f"{data.name} gives {type(source).__name__}; give an iterable of batches, or a function that gives one."
            )
        self._source = source
        self.length = _shorter(data.steps, _length(source))

    def __iter__(self) -> Iterator[Batch]:
        with self._stream.active(), reading(self._data.name):
            iterator = islice(iter(self._source), self._data.steps)
        end = object()
        count = 0
        while True:
            with self._stream.active(), reading(self._data.name):
                raw = next(iterator, end)
            if raw is end:
                break
            count += 1
            yield checked_batch(raw, self._data)
        if count == 0:
            again = f" in epoch {self._number + 1}; {AGAIN}" if self._number else "; give at least one batch"
            raise InputError(f"{self._data.name} yields nothing{again}.")


def readable_once(data: TrainData) -> bool:
    """Return whether the data is an iterator, which is used up when it was read."""
    return not callable(data.batches) and iter(data.batches) is data.batches


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what the user's data raises into a sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} failed while it was read: {type(error).__name__}: {error}") from error


def checked_batch(raw: Any, data: TrainData) -> Batch:
    """Return the batch after comparing it with the example inputs, sizes of the batch aside.

    Raises:
        InputError: the inputs differ in number, type or shape, or there is no sample in them.
    """
    inputs, targets = split_batch(raw)
    example = data.example_inputs
    kinds = [str(x.dtype).removeprefix("torch.") for x in inputs]
    wanted_kinds = [str(x.dtype).removeprefix("torch.") for x in example]
    if kinds != wanted_kinds:
        found = ", ".join(kinds) or f"none (a {type(raw).__name__})"
        raise InputError(
            f"A batch of {data.name} has inputs of type {found}; give them as the example inputs are "
            f"({', '.join(wanted_kinds)})."
        )
    shapes, wanted = [tuple(x.shape[1:]) for x in inputs], [tuple(x.shape[1:]) for x in example]
    if shapes != wanted:
        raise InputError(
            f"A batch of {data.name} has inputs of shape {shapes} (without the batch); the model takes {wanted}."
        )
    sizes = [x.shape[0] for x in inputs if x.ndim]
    if len(set(sizes)) > 1 or 0 in sizes:
        raise InputError(
            f"A batch of {data.name} has {sizes} samples in its inputs; each must have as many, at least 1."
        )
    return Batch(inputs=inputs, targets=targets)


def _length(source: Any) -> int | None:
    try:
        return len(source)
    except (TypeError, NotImplementedError):
        return None


def _shorter(a: int | None, b: int | None) -> int | None:
    return min((x for x in (a, b) if x is not None), default=None)
