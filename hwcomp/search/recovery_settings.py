"""How long and how networks are trained: what the user asked for, and what a method takes where nothing was asked."""

from dataclasses import dataclass

from hwcomp.config import Shrinking
from hwcomp.train import Schedule, TrainConfig

DEFAULT_EPOCHS = 10
"""Length of a training if the user gives neither epochs nor minutes."""


@dataclass(frozen=True, kw_only=True)
class RecoverySettings:
    """Settings of all trainings of a compilation.

    Attributes:
        options: of the user.
        seed: of everything random.
    """

    options: Shrinking
    seed: int

    def has_epochs(self, share: float) -> bool:
        """Return whether a share of the training is as long as an epoch, or a time."""
        return share > 0 and (self.options.minutes is not None or round(share * self.epochs) > 0)

    @property
    def epochs(self) -> int:
        """Epochs that the user gave, or the default."""
        return self.options.epochs or DEFAULT_EPOCHS

    def config(
        self,
        share: float = 1.0,
        rate: float = 0.02,
        *,
        clip: float | None = None,
        decay_all: bool = False,
        schedule: Schedule = "cosine",
    ) -> TrainConfig:
        """Return the configuration of a share of the training.

        Args:
            share: of the epochs or minutes that the user gave.
            rate: learning rate, if the user gave none.
            clip: largest norm of all gradients together, if the user gave none; None for no limit.
            decay_all: weights decay, and with it biases and normalisations too.
            schedule: of the learning rate.
        """
        epochs = None if self.options.minutes and not self.options.epochs else max(1, round(share * self.epochs))
        return TrainConfig(
            epochs=epochs,
            minutes=None if self.options.minutes is None else share * self.options.minutes,
            rate=self.options.learning_rate or rate,
            clip=self.options.clip or clip,
            decay_all=decay_all,
            schedule=schedule,
            precision=self.options.precision,
            seed=self.seed,
        )
