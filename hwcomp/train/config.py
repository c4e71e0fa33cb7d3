"""What one training may be asked for."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from hwcomp.errors import InputError

CHOICES = {
    "optimiser": ("sgd", "adamw"),
    "schedule": ("cosine", "one_cycle", "constant"),
    "precision": ("no", "bf16", "fp16"),
    "keep": ("last", "best"),
}


Schedule = Literal["cosine", "one_cycle", "constant"]
"""How the learning rate goes, see `TrainConfig`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Options of the training loop, checked.

    Attributes:
        epochs: passes over the data; with ``minutes``, the most of them.
        minutes: when to be done; the schedule is planned by the measured speed, so that it is complete then.
        rate: the highest learning rate.
        optimiser: "sgd" with Nesterov momentum, or "adamw".
        momentum: of SGD.
        weight_decay: of weights; biases and the parameters of normalisation have none.
        decay_all: also of biases and the parameters of normalisation.
        schedule: of the learning rate, per step: "cosine" to zero, "one_cycle" (up, then to zero) or "constant".
        warmup: share of the steps in which the rate rises; of "one_cycle" 0.3 if it is 0.
        clip: largest norm of all gradients together; None for no limit.
        ema: decay per step of a moving average of the weights, which then is the result; None for none.
        precision: "bf16" or "fp16" for mixed precision.
        distill: weight of the teacher in the objective, 0 to 1.
        temperature: of the teacher's and the student's probabilities.
        keep: the model that is given back: "last", or "best" on the validation data.
        seed: of everything random.
        checkpoint_s: seconds between checkpoints.

    Raises:
        InputError: an option is out of its range, or neither epochs nor minutes are given.
    """

    epochs: int | None = None
    minutes: float | None = None
    rate: float = 0.05
    optimiser: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_all: bool = False
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    clip: float | None = None
    ema: float | None = None
    precision: Literal["no", "bf16", "fp16"] = "no"
    distill: float = 0.5
    temperature: float = 2.0
    keep: Literal["last", "best"] = "last"
    seed: int = 0
    checkpoint_s: float = 60.0

    def __post_init__(self) -> None:
        if self.epochs is None and self.minutes is None:
            raise InputError("The training has no length; give epochs, minutes or both.")
        if self.epochs is not None and (not isinstance(self.epochs, int) or self.epochs < 1):
            raise InputError(f"Epochs must be a whole number, at least 1; found {self.epochs}.")
        infinity = float("inf")
        limits: list[tuple[str, float | None, bool, str]] = [
            ("minutes", self.minutes, self.minutes is None or 0 < self.minutes < infinity, "more than 0"),
            ("rate", self.rate, 0 < self.rate < infinity, "more than 0"),
            ("momentum", self.momentum, 0 <= self.momentum < 1, "from 0 to below 1"),
            ("weight_decay", self.weight_decay, 0 <= self.weight_decay < infinity, "0 or more"),
            ("warmup", self.warmup, 0 <= self.warmup < 1, "from 0 to below 1, a share of the steps"),
            ("clip", self.clip, self.clip is None or self.clip > 0, "more than 0"),
            ("ema", self.ema, self.ema is None or 0 < self.ema < 1, "between 0 and 1"),
            ("distill", self.distill, 0 <= self.distill <= 1, "from 0 to 1"),
            ("temperature", self.temperature, 0 < self.temperature < infinity, "more than 0"),
            ("checkpoint_s", self.checkpoint_s, self.checkpoint_s >= 0, "0 or more seconds"),
        ]
        for name, value, good, wanted in limits:
            if not good:
                raise InputError(f"The training option '{name}' must be {wanted}; found {value}.")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"The training option '{name}' must be one of {', '.join(allowed)}; found '{getattr(self, name)}'."
                )

    def facts(self) -> dict[str, Any]:
        """Return what decides the result, for the digest of a checkpoint."""
        return {name: value for name, value in asdict(self).items() if name != "checkpoint_s"}
