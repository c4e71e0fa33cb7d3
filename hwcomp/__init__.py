"""hwcomp: the fastest network on your hardware at the accuracy you ask for, with proof."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hwcomp import passes, targets
    from hwcomp.api import compile, trace  # noqa: A004
    from hwcomp.config import Budget, Fastest, Latency, Speedup
    from hwcomp.errors import BudgetError, HwcompError, InputError
    from hwcomp.pipeline import Result
    from hwcomp.runtime import Session, load

_HOME = {
    "Budget": "config",
    "BudgetError": "errors",
    "Fastest": "config",
    "HwcompError": "errors",
    "InputError": "errors",
    "Latency": "config",
    "Result": "pipeline",
    "Session": "runtime",
    "SearchOptions": "search_options",
    "Shrinking": "config",
    "Speedup": "config",
    "compile": "api",
    "load": "runtime",
    "trace": "api",
}

__all__ = [
    "Budget",
    "BudgetError",
    "Fastest",
    "HwcompError",
    "InputError",
    "Latency",
    "Result",
    "SearchOptions",
    "Session",
    "Shrinking",
    "Speedup",
    "compile",
    "load",
    "passes",
    "targets",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import hwcomp`` itself loads nothing heavy."""
    if name in _HOME:
        return getattr(import_module(f"hwcomp.{_HOME[name]}"), name)
    if name in ("passes", "targets"):
        return import_module(f"hwcomp.{name}")
    raise AttributeError(f"module 'hwcomp' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
