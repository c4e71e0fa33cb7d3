"""Ctrl-C that cannot get lost.

Python drops a KeyboardInterrupt that happens to be raised while an object is destroyed; so it is also noted, and
looked at whenever a stage begins or a bar moves.
"""

import signal
import sys
from types import FrameType

_requested: list[int] = []


def install() -> None:
    """Note interrupts from now on, besides raising KeyboardInterrupt."""
    _requested.clear()
    signal.signal(signal.SIGINT, _note)
    sys.unraisablehook = _report_unless_interrupted


def _note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's form
    _requested.append(number)
    raise KeyboardInterrupt


def _report_unless_interrupted(unraisable: "sys.UnraisableHookArgs") -> None:
    """Report what a destructor raised, as Python does, but not an interrupt: that is noted already."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def check() -> None:
    """Raise KeyboardInterrupt if an interrupt was requested and got lost."""
    if _requested:
        raise KeyboardInterrupt
