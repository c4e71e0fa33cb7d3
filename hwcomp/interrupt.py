"""Ctrl-C that cannot get lost.

Python drops a KeyboardInterrupt that happens to be raised while an object is destroyed; so it is also noted, and
looked at whenever a stage begins or a bar moves.
"""

import signal
from types import FrameType

_requested: list[int] = []


def install() -> None:
    """Note interrupts from now on, besides raising KeyboardInterrupt."""
    _requested.clear()
    signal.signal(signal.SIGINT, _note)


def _note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's form
    _requested.append(number)
    raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt if an interrupt was requested and got lost."""
    if _requested:
        raise KeyboardInterrupt
