"""The training loop that every method shares."""

from hwcomp.train.config import Schedule, TrainConfig
from hwcomp.train.feed import TrainData
from hwcomp.train.hooks import Hooks, TrainState
from hwcomp.train.objective import Objective, TaskObjective, task_objective
from hwcomp.train.position import EpochRecord
from hwcomp.train.training import Trained, train
from hwcomp.train.validation import Validation

__all__ = [
    "EpochRecord",
    "Hooks",
    "Objective",
    "Schedule",
    "TaskObjective",
    "TrainConfig",
    "TrainData",
    "TrainState",
    "Trained",
    "Validation",
    "task_objective",
    "train",
]
