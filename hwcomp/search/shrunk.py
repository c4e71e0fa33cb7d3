"""What a method proposes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hwcomp.config import Budget
from hwcomp.program import Program
from hwcomp.quantizer import QuantParams
from hwcomp.search.records import Entry, SearchRecord
from hwcomp.space import Assignment
from hwcomp.train import EpochRecord
from hwcomp.width_law import Widths


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """What a method has chosen and trained a network with.

    Attributes:
        assignment: site -> scheme, for the network after the default passes.
        params: tensor -> how it is stored as integers.
    """

    assignment: Assignment
    params: Mapping[str, QuantParams]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrunk:
    """A network that a method proposes: smaller, trained, or both.

    Attributes:
        network: the network.
        widths: group of the original -> channels that stay.
        channels: group of the original -> channels that it had.
        history: what happened in each epoch of training.
        notes: what is to be known of it.
        precision: what it was trained with; None where precision is still to be chosen.
        budget: what this one must meet; None for the budget of the compilation.
        contest: how it did among others, see `hwcomp.contest`.
        search: how the search went that found it.
    """

    network: Program
    widths: Widths
    channels: Widths = field(default_factory=dict)
    history: tuple[EpochRecord, ...] = ()
    notes: tuple[str, ...] = ()
    precision: Precision | None = None
    budget: Budget | None = None
    contest: tuple[Entry, ...] = ()
    search: tuple[SearchRecord, ...] = ()

    @property
    def reduced(self) -> list[tuple[str, int, int]]:
        """The name, the channels left and the channels before of every group."""
        return [(name, self.widths.get(name, channels), channels) for name, channels in self.channels.items()]


def joined(*histories: tuple[EpochRecord, ...]) -> tuple[EpochRecord, ...]:
    """Return the epochs of trainings that followed each other, numbered through."""
    records = [record for history in histories for record in history]
    return tuple(replace(record, epoch=number) for number, record in enumerate(records, 1))
