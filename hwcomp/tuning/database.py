"""What is known of the functions of one setting."""

from collections.abc import Mapping
from pathlib import Path

from hwcomp.lowering.plan import Plan
from hwcomp.tuning.records import Setting, Trial, add_trial, read_trials

GAIN = 0.97
"""Largest time, relative to that without a plan, for which a plan is used: less of a gain may be chance."""


class Database:
    """Trials of one setting; what others add meanwhile is seen when it is opened anew."""

    def __init__(self, path: Path, setting: Setting) -> None:
        """Open the database at a path, or none of it if there is no file.

        Raises:
            InputError: it is of another setting, damaged, or cannot be read.
        """
        self.path, self.setting = path, setting
        self._trials: dict[str, list[Trial]] = {}
        for trial in read_trials(path, setting):
            self._trials.setdefault(trial.function, []).append(trial)

    def add(self, trial: Trial) -> None:
        """Keep a trial for good.

        Raises:
            InputError: the file cannot be written.
        """
        add_trial(self.path, self.setting, trial)
        self._trials.setdefault(trial.function, []).append(trial)

    def default_us(self, function: str) -> float | None:
        """Return how long a function takes without a plan, None if it was never measured."""
        return next((trial.us for trial in self._trials.get(function, []) if trial.plan is None), None)

    def tried(self, function: str) -> Mapping[Plan, float | None]:
        """Return the plans of a function that were tried: plan -> its relative time, None where it did not work."""
        trials = self._trials.get(function, [])
        return {trial.plan: trial.ratio for trial in trials if trial.plan is not None and not trial.final}

    def final(self, function: str) -> Trial | None:
        """Return what was found out about a function, None if something was tried since, or nothing."""
        trials = self._trials.get(function, [])
        return trials[-1] if trials and trials[-1].final else None

    def plan(self, function: str) -> Plan | None:
        """Return the plan that makes a function faster, None if none does, or none was found yet."""
        finals = [trial for trial in self._trials.get(function, []) if trial.final]
        if not finals or finals[-1].ratio is None or finals[-1].ratio > GAIN:
            return None
        return finals[-1].plan

    def __len__(self) -> int:
        return sum(map(len, self._trials.values()))
