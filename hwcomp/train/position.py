"""Where a training is: everything but tensors that it needs to go on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hwcomp.train.plan import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """What came of an epoch.

    Attributes:
        epoch: its number, from 1.
        loss: mean of the objective over its samples.
        metric: on the validation data, or None without.
        rate: learning rate of its last step.
        seconds: it took, validation included.
    """

    epoch: int
    loss: float
    metric: float | None
    rate: float
    seconds: float


@dataclass(kw_only=True, slots=True)
class Position:
    """Where a training is.

    Attributes:
        epoch: epochs that are done.
        batch: batches of the next one that are done.
        step: steps that are done.
        seconds: time that is gone.
        epoch_start_s: of it, when this epoch began.
        length: batches of an epoch, if known.
        plan: of the schedule.
        lowered: factor of the learning rate after a failure.
        rate: learning rate of the last step.
        loss_sum: of the losses of this epoch, times their samples.
        samples: of this epoch.
        first_batch: hash of this epoch's first batch.
        last_batch: hash of the last batch that was used.
        best: best metric so far.
        history: of the epochs that are done.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    epoch_start_s: float = 0.0
    length: int | None = None
    plan: Plan = field(default_factory=Plan)
    lowered: float = 1.0
    rate: float = 0.0
    loss_sum: float = 0.0
    samples: int = 0
    first_batch: str = ""
    last_batch: str = ""
    best: float | None = None
    history: list[EpochRecord] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return asdict(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Position":
        """Return the position that gave these facts."""
        history = [EpochRecord(**record) for record in facts["history"]]
        return cls(**(dict(facts) | {"plan": Plan(**facts["plan"]), "history": history}))

    @property
    def loss(self) -> float:
        """Mean loss of this epoch so far."""
        return self.loss_sum / max(1, self.samples)

    def next_epoch(self, metric: float | None) -> None:
        """Write the epoch down and go to the next."""
        took = self.seconds - self.epoch_start_s
        record = EpochRecord(epoch=self.epoch + 1, loss=self.loss, metric=metric, rate=self.rate, seconds=took)
        self.history.append(record)
        self.epoch, self.batch, self.loss_sum, self.samples = self.epoch + 1, 0, 0.0, 0
        self.first_batch, self.last_batch, self.epoch_start_s = "", "", self.seconds
