"""Ctrl-C between two steps: the one under way is finished, so that what is saved is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Pressed:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.once = False


@contextmanager
def deferred() -> Iterator[Pressed]:
    """Only note the first Ctrl-C while the body runs; a second one interrupts at once."""
    pressed = Pressed()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield pressed
        return

    def note(number: int, frame: FrameType | None) -> None:
        if pressed.once:
            before(number, frame)
        pressed.once = True

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
