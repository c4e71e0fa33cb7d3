"""Training data for a search: weights and choices learn from different batches."""

from collections.abc import Iterable, Iterator
from typing import Any

from hwcomp.errors import InputError
from hwcomp.train import TrainData
from hwcomp.workload import split_batch

_END = object()


class Paired:
    """An iterable of pairs of neighbouring batches: the first is for the weights, the second for the choices.

    A pair whose batches differ in size is left out; so is the last batch of an odd number. A loader that shuffles
    deals the same samples anew in each pass, so within a step the halves are disjoint, and over a whole search not.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        """Return how many pairs there are; raises TypeError where the data does not know its length."""
        length: Any = self._batches
        return len(length) // 2

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield ((inputs, inputs), (targets, targets)).

        Raises:
            InputError: there are batches, but no two neighbours of the same size.
        """
        iterator, batches, pairs = iter(self._batches), 0, 0
        for first in iterator:
            second = next(iterator, _END)
            batches += 1 if second is _END else 2
            if second is _END:
                break
            (inputs, targets), (held_inputs, held_targets) = split_batch(first), split_batch(second)
            if [x.shape for x in inputs] == [x.shape for x in held_inputs]:
                pairs += 1
                yield (inputs, held_inputs), (targets, held_targets)
        if batches and not pairs:
            raise InputError(
                f"The search takes two batches a step, and no two neighbours of the {batches} in train_data are of the "
                "same size; give smaller batches."
            )


def paired_data(data: TrainData) -> TrainData:
    """Return training data two batches at a time."""

    def batches() -> Iterable[Any] | None:
        source: Any = data.batches() if callable(data.batches) else data.batches
        return source if source is None or not hasattr(source, "__iter__") else Paired(source)

    return TrainData(
        batches=batches,
        example_inputs=data.example_inputs * 2,
        name=data.name,
        steps=None if data.steps is None else data.steps // 2,
    )
