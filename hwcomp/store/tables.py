"""Rows as SQLite keeps them: which columns there are, and how a row becomes their values and comes back."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from hwcomp.store.rows import KernelRow, RunRow, Setting

SETTING = ("device", "runtime", "threads")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Columns of one kind of row, besides the number of its setting."""

    name: str
    key: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row, in the order of its values."""
        return (*self.key, *self.values)

    @property
    def joined(self) -> str:
        """The table with the settings of its rows, to select from."""
        return f"settings JOIN {self.name} ON setting = settings.id"


KERNELS = Table(
    name="kernels",
    key=("kernel", "method"),
    values=("median_us", "p10_us", "p90_us", "runs", "date", "provenance", "error"),
)
NETWORKS = Table(
    name="networks",
    key=("network", "assignment"),
    values=("median_us", "p10_us", "p90_us", "runs", "date", "provenance", "control_us"),
)
TABLES = (KERNELS, NETWORKS)

_KERNEL_VALUES: Callable[[KernelRow], tuple[Any, ...]] = attrgetter(*KERNELS.columns)
_RUN_VALUES: Callable[[RunRow], tuple[Any, ...]] = attrgetter(*NETWORKS.columns)


def setting_values(setting: Setting) -> tuple[str, str, int]:
    """Return a setting's values in the order of its columns."""
    return setting.device, setting.runtime, setting.threads


def row_values(row: KernelRow | RunRow) -> tuple[Any, ...]:
    """Return a row's values in the order of its columns; equal assignments are equal texts."""
    if isinstance(row, KernelRow):
        return _KERNEL_VALUES(row)
    network, assignment, *rest = _RUN_VALUES(row)
    return (network, json.dumps(dict(assignment), sort_keys=True), *rest)


def setting_of(values: Sequence[Any]) -> Setting:
    """Return the setting that values make; ValueError if they make none."""
    return Setting(**dict(zip(SETTING, values, strict=True)))


def row_of(table: Table, values: Sequence[Any]) -> KernelRow | RunRow:
    """Return the row that values make; ValueError or TypeError if they make none."""
    named = dict(zip(table.columns, values, strict=True))
    if table is KERNELS:
        return KernelRow(**named)
    return RunRow(**named | {"assignment": dict(json.loads(named["assignment"]))})
