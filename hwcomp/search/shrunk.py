"""What a method that removes channels gives."""

from dataclasses import dataclass, field, replace

from hwcomp.program import Program
from hwcomp.train import EpochRecord
from hwcomp.width_law import Widths


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrunk:
    """A smaller, trained network.

    Attributes:
        network: the network.
        widths: group of the original -> channels that stay.
        channels: group of the original -> channels that it had.
        history: what happened in each epoch of training.
        notes: what is to be known of it.
    """

    network: Program
    widths: Widths
    channels: Widths = field(default_factory=dict)
    history: tuple[EpochRecord, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def reduced(self) -> list[tuple[str, int, int]]:
        """The name, the channels left and the channels before of every group."""
        return [(name, self.widths.get(name, channels), channels) for name, channels in self.channels.items()]


def joined(*histories: tuple[EpochRecord, ...]) -> tuple[EpochRecord, ...]:
    """Return the epochs of trainings that followed each other, numbered through."""
    records = [record for history in histories for record in history]
    return tuple(replace(record, epoch=number) for number, record in enumerate(records, 1))
