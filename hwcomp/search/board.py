"""Numbers of a training as it goes on, for TensorBoard."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hwcomp.errors import InputError
from hwcomp.train import EpochRecord, Hooks, TrainState
from hwcomp.train.processes import Processes

if TYPE_CHECKING:
    from typing_extensions import Self

EVERY = 10
"""Steps between two points; the loss is read from the device for each."""


class Board:
    """Writes what TensorBoard shows, from the main process alone; use it in a ``with``.

    Args:
        folder: of the event files; made if it is not there.
        name: of the training, a folder in it.

    Raises:
        InputError: TensorBoard is not installed, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, name: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise InputError(
                f"--tensorboard needs TensorBoard ({error}); install it: pip install 'hwcomp[tensorboard]'."
            ) from error
        self._writer: SummaryWriter | None = None
        if Processes().main:
            try:
                self._writer = SummaryWriter(str(folder / name.replace(" ", "_").replace(",", "")))
            except OSError as error:
                raise InputError(f"--tensorboard: '{folder}' cannot be written to ({error.strerror}).") from error

    def watching(self, hooks: Hooks) -> Hooks:
        """Return hooks that also write the loss, the learning rate and what the method watches."""

        def after_step(state: TrainState) -> None:
            hooks.after_step(state)
            if state.step % EVERY == 1:
                self.write(
                    {"train/loss": float(state.loss), "train/rate": state.rate, **hooks.watch(state)}, state.step
                )

        return replace(hooks, after_step=after_step)

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write a point of each curve."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def write_epochs(self, history: Sequence[EpochRecord]) -> None:
        """Write what came of each epoch."""
        for record in history:
            self.write({"epoch/loss": record.loss}, record.epoch)
            if record.metric is not None:
                self.write({"epoch/metric": record.metric}, record.epoch)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
