"""Random numbers that do not depend on where a training was interrupted.

The global generators (of PyTorch, numpy and Python) are two streams here. The *data stream* is seeded by (seed,
epoch) and is current only while the data is read, so that an epoch that is read again gives the same batches, whatever
the network drew in between. Before each step they are seeded by (seed, step, process) for the network itself.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_all(*parts: int | str) -> None:
    """Seed the global generators by a hash of the parts."""
    state = hashlib.sha256(repr(parts).encode()).digest()
    seed = int.from_bytes(state[:8], "little") >> 1
    torch.default_generator.manual_seed(seed)  # torch.manual_seed is slow where no GPU is in use
    cuda: Any = torch.cuda
    if cuda.is_initialized():
        cuda.manual_seed(seed)
    np.random.seed(int.from_bytes(state[8:12], "little"))  # noqa: NPY002 - augmentations use the global state
    random.seed(state[12:20])


class Stream:
    """A state of the global generators that can be made current for a while."""

    def __init__(self, *parts: int | str) -> None:
        seed_all(*parts)
        self._state = _current()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Draw from this stream while the body runs; what was current before is not put back."""
        _make_current(self._state)
        try:
            yield
        finally:
            self._state = _current()


@contextmanager
def untouched() -> Iterator[None]:
    """Leave the global generators after the body as they were before it."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    state = _current()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            _make_current(state)


def _current() -> tuple[Any, Any, Any]:
    return torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002


def _make_current(state: tuple[Any, Any, Any]) -> None:
    torch.set_rng_state(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    random.setstate(state[2])
