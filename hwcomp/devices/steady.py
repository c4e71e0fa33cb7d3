"""A device that is only measured while its cores do not slow each other down.

On a shared or virtual machine two cores may for half a minute be two threads of one core, and then two cores again;
on a board the system may move the threads to smaller cores. One thread is as fast as ever, several together are up to
twice as slow. So how many times faster the control model is on all threads than on one is looked at before and after
every block; what was measured in between is repeated, as long as there is patience.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from typing import TypeVar, final

from hwcomp.devices.base import Device
from hwcomp.devices.control import control_feed, control_model
from hwcomp.devices.facts import DeviceFacts, DeviceState
from hwcomp.errors import InputError
from hwcomp.lowering.onnxruntime import Array, Feed, Owner
from hwcomp.stages import cache_root, digest, write_atomically

PATIENCE_VARIABLE = "HWCOMP_PATIENCE"
PATIENCE_S, PATIENCE_SHARE = 20.0, 0.25
"""What may be spent on waiting, in all: so many seconds, and a share of the time since the device was opened."""

FREE = 0.85
"""Share of the best speed-up by threads above which the cores count as free."""

GOOD_SCALING = 0.8
"""Speed-up per thread at which the search for the best one ends."""

PROBE_RUNS, PAUSE_S = 20, 0.5
FRESH_S = 0.2
"""How long a probe counts: the one after a block serves as the one before the next."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Where time comes from."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def patience_s() -> float:
    """Return how long a command may wait for free cores: ``HWCOMP_PATIENCE`` in seconds, or `PATIENCE_S`.

    Raises:
        InputError: the variable is not a number of seconds.
    """
    text = os.environ.get(PATIENCE_VARIABLE, str(PATIENCE_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{PATIENCE_VARIABLE} must be zero or more seconds; found '{text}'.")
    return seconds


@final
class SteadyDevice(Device):
    """Another device, measured in its best state where that comes in time.

    Attributes:
        waited_s: seconds spent on waiting and on blocks that were repeated.
        contended: blocks that count although the cores were not free.
    """

    def __init__(self, device: Device, patience: float, clock: Clock | None = None) -> None:
        """Wrap a device; ``patience`` is in seconds."""
        self.name, self.provenance = device.name, device.provenance
        self.waited_s, self.contended = 0.0, 0
        self._device, self._patience, self._clock = device, patience, clock or Clock()
        self._start = self._clock.now()
        self._best: dict[int, float] = {}
        self._last: list[float] = []
        self._free_s = -inf

    def facts(self) -> DeviceFacts:
        """Return what the device is."""
        return self._device.facts()

    def state(self) -> DeviceState:
        """Return the state it is in now."""
        return self._device.state()

    def time_block(self, model: bytes, feed: Feed, threads: int, runs: int | None = None) -> list[float]:
        """Return the times in microseconds of runs in a fresh, warmed-up session."""
        return self._steady(threads, lambda: self._device.time_block(model, feed, threads, runs))

    def kernel_times(self, model: bytes, feed: Feed, threads: int, runs: int, warmup: int) -> dict[Owner, float]:
        """Return the time of each owner's kernels in the context of the whole model, in microseconds per run."""
        return self._steady(threads, lambda: self._device.kernel_times(model, feed, threads, runs, warmup))

    def run(self, model: bytes, feed: Feed, threads: int) -> list[Array]:
        """Return the outputs of one run."""
        return self._device.run(model, feed, threads)

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()

    def remarks(self) -> list[str]:
        """Return what is to be known of the measurements: whether some were made while the cores were not free."""
        if not self.contended:
            return self._device.remarks()
        remark = (
            f"{self.contended} blocks were measured on '{self.name}' while its cores slowed each other down, after "
            f"{self.waited_s:.0f} s of waiting: latencies may be too high; {PATIENCE_VARIABLE}=120 waits longer."
        )
        return [remark, *self._device.remarks()]

    def _steady(self, threads: int, measure: Callable[[], Result]) -> Result:
        """Return what was measured while the cores were free before and after it, or the last try."""
        if threads == 1:
            return measure()
        while True:
            before = self._wait(threads)
            start = self._clock.now()
            result = measure()
            if before and self._is_free(threads):
                return result
            if not self._may_wait():
                self.contended += 1
                return result
            self.waited_s += self._clock.now() - start

    def _wait(self, threads: int) -> bool:
        """Wait until the cores are free; return whether they are."""
        if threads not in self._best:
            self._best[threads] = self._kept(threads) or self._sought(threads)
        while self._clock.now() - self._free_s > FRESH_S and not self._is_free(threads):
            if not self._may_wait():
                return False
            self._pause()
        return True

    def _is_free(self, threads: int) -> bool:
        scaling = self._scaling(threads)
        self._last = [*self._last, scaling][-3:]
        typical = median(self._last)  # of several, since a disturbed run on one thread looks like a good speed-up
        if len(self._last) == 3 and typical > 1.02 * self._best[threads]:
            self._best[threads] = typical
            self._keep(threads)
        is_free = scaling >= FREE * self._best[threads]
        self._free_s = self._clock.now() if is_free else -inf
        return is_free

    def _scaling(self, threads: int) -> float:
        one, all_ = (
            median(self._device.time_block(control_model(), control_feed(), count, PROBE_RUNS))
            for count in (1, threads)
        )
        return one / all_

    def _may_wait(self) -> bool:
        spent = self._clock.now() - self._start - self.waited_s
        return self.waited_s < self._patience + PATIENCE_SHARE * spent

    def _pause(self) -> None:
        start = self._clock.now()
        self._clock.sleep(PAUSE_S)
        self.waited_s += self._clock.now() - start

    def _sought(self, threads: int) -> float:
        """Return the best typical speed-up that is seen before patience ends, or the first that is good."""
        best = 0.0
        while True:
            best = max(best, median(self._scaling(threads) for _ in range(3)))
            if best >= GOOD_SCALING * threads or not self._may_wait():
                self._best[threads] = best
                self._keep(threads)
                return best
            self._pause()

    def _kept(self, threads: int) -> float | None:
        """Return the best speed-up that an earlier command saw."""
        try:
            value = json.loads(self._path(threads).read_text())
        except (OSError, ValueError):
            return None
        return float(value) if isinstance(value, (int, float)) and 0 < value <= 2 * threads else None

    def _keep(self, threads: int) -> None:
        write_atomically(self._path(threads), json.dumps(self._best[threads]).encode(), required=False)

    def _path(self, threads: int) -> Path:
        facts = self._device.facts()
        return cache_root() / "scaling" / f"{digest(facts.fingerprint, facts.runtime, threads)}.json"
