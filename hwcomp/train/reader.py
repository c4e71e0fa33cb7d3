"""Opens epochs: how long they are, and where in them a resumed training goes on."""

from collections.abc import Iterator

from hwcomp.train.config import TrainConfig
from hwcomp.train.digest import batch_digest
from hwcomp.train.feed import Batch, Epoch, TrainData, readable_once
from hwcomp.train.interrupts import Pressed
from hwcomp.train.position import Position
from hwcomp.train.progress import Speaker


class Reader:
    """Reads the epochs of a training, each from where its position is."""

    def __init__(
        self, data: TrainData, config: TrainConfig, position: Position, speaker: Speaker, pressed: Pressed
    ) -> None:
        self._data, self._config, self._position = data, config, position
        self._speaker, self._pressed = speaker, pressed

    def open(self) -> tuple[Iterator[Batch], int | None]:
        """Return the batches of this epoch that were not used yet, and how many it has in all, if that is known."""
        epoch = Epoch(self._data, self._config.seed, self._position.epoch)
        length = epoch.length or self._position.length
        if length is None and self._must_plan():
            length = self._count()
        return self._unused(iter(epoch)), length

    def _must_plan(self) -> bool:
        config = self._config
        return config.epochs is not None and (config.schedule != "constant" or config.warmup > 0)

    def _count(self) -> int | None:
        """Read data that does not know its length once, to plan the schedule."""
        if readable_once(self._data):
            self._speaker.tell(
                f"{self._data.name} does not tell how many batches it has, so the learning rate stays constant."
            )
            return None
        count = 0
        for _ in Epoch(self._data, self._config.seed, self._position.epoch):
            self._stop_if_asked()
            count += 1
        return count

    def _unused(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        position = self._position
        expected = {0: position.first_batch, position.batch - 1: position.last_batch}
        for index in range(position.batch):
            batch = next(batches, None)
            self._stop_if_asked()
            if batch is None or (index in expected and batch_digest(batch.inputs, batch.targets) != expected[index]):
                found = "fewer" if batch is None else "other"
                self._speaker.tell(
                    f"{self._data.name} gives {found} batches than before the interruption (batch {index + 1} of epoch "
                    f"{position.epoch + 1}); training goes on, but not exactly as a run in one piece would."
                )
                if batch is None:
                    return
        yield from batches

    def _stop_if_asked(self) -> None:
        """Before the first step there is nothing to save that is not saved already."""
        if self._pressed.once:
            raise KeyboardInterrupt
