"""How much of a training is done, when it ends, and what has to be done between two steps."""

from dataclasses import dataclass

from hwcomp.train.config import TrainConfig
from hwcomp.train.interrupts import Pressed
from hwcomp.train.plan import Pace, Plan, differs, now
from hwcomp.train.position import Position
from hwcomp.train.processes import Processes
from hwcomp.train.schedule import rate_factor

AGREE_STEPS = 10
"""Several processes agree on the time and on what to do about it every so many steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Between:
    """What the main process finds between two steps.

    Attributes:
        seconds: time that is gone.
        end: step at which the time will be over, if there is something new to say about it.
        save: whether a checkpoint is due.
        stop: whether Ctrl-C was pressed.
    """

    seconds: float
    end: int | None
    save: bool
    stop: bool


class Timetable:
    """Keeps a training's plan in step with the data's length and the clock."""

    def __init__(self, config: TrainConfig, position: Position, processes: Processes) -> None:
        self._config, self._position, self._processes = config, position, processes
        self._pace = None if config.minutes is None else Pace(60 * config.minutes)
        self._began = now() - position.seconds
        self._saved_s = position.seconds
        self._most: int | None = None

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or the time is over."""
        epochs = self._config.epochs
        return self.late or (epochs is not None and self._position.epoch >= epochs)

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        end = self._position.plan.end
        return self._pace is not None and end is not None and self._position.step >= end

    def begin_epoch(self, length: int | None) -> None:
        """Plan the schedule by the number of batches in an epoch, if that is known."""
        position, config = self._position, self._config
        position.length = length
        if config.epochs is None or length is None:
            return
        self._most = position.step - position.batch + (config.epochs - position.epoch) * length
        end = position.plan.end
        if config.minutes is None or end is None or end > self._most:
            position.plan = position.plan.ending(position.step, self._most)

    def share(self, step: float) -> float:
        """Return the share of the training that is done; until it is planned in steps, by the time."""
        position = self._position
        if position.plan.end is None and self._pace is not None:
            return min(1.0, position.seconds / self._pace.limit_s)
        return position.plan.at(step)

    def factor(self) -> float:
        """Return the learning rate of the next step as a factor of the highest."""
        position = self._position
        if position.plan.end is None and self._pace is None:
            return position.lowered
        return position.lowered * rate_factor(self._config, self.share(position.step + 0.5))

    def between(self, pressed: Pressed) -> Between | None:
        """After a step: do as `read` does, or nothing if several processes read the clock later."""
        if self._processes.count > 1 and self._position.step % AGREE_STEPS:
            return None
        return self.read(pressed)

    def read(self, pressed: Pressed) -> Between:
        """Read the clock, plan anew if need be, and say what to do; all processes agree on it."""
        position = self._position
        seconds = now() - self._began
        end = None if self._pace is None else self._pace.end(position.step, seconds)
        due = seconds - self._saved_s >= self._config.checkpoint_s
        found = Between(seconds=seconds, end=end, save=due, stop=pressed.once)
        found = self._processes.agreed(found)
        position.seconds = found.seconds
        if found.end is not None:
            self._replan(found.end)
        return found

    def saved(self) -> None:
        """A checkpoint was written just now."""
        self._saved_s = self._position.seconds

    def _replan(self, end: int) -> None:
        position = self._position
        end = end if self._most is None else min(end, self._most)
        if position.plan.end is None:
            position.plan = Plan(step=position.step, share=self.share(position.step), end=end)
        elif differs(position.plan, end, position.step):
            position.plan = position.plan.ending(position.step, end)
