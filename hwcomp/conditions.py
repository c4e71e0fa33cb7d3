"""Whether a machine is fit for measuring, before and while one measures.

What the system tells is looked at (governor, clock, temperature, other load), and a small control model is timed now
and then: whatever makes the machine slower shows in it, even what the system does not tell.
"""

from statistics import median

from hwcomp.devices.base import Device
from hwcomp.devices.control import control_feed, control_model
from hwcomp.devices.facts import DeviceState

FIT_GOVERNOR = "performance"
MAX_LOAD = 0.25
"""Cores that others may keep busy."""

MARGIN_C = 5.0
MAX_CLOCK_DRIFT = 0.1
MAX_CONTROL_DRIFT = 0.1
CONTROL_BLOCKS, CONTROL_RUNS = 5, 30
REMEMBERED = 15


class Watch:
    """Watches over one device while it measures.

    Attributes:
        control_us: how long the control model took last, in microseconds.
        first_us: how long it took at first.
    """

    def __init__(self, device: Device, threads: int) -> None:
        """Time the control model a few times, as the reference for what comes.

        Raises:
            DeviceError: the device is lost, or what it answers cannot be believed.
        """
        self._device, self._threads = device, threads
        self._first = device.state()
        self._seen = [self._time() for _ in range(CONTROL_BLOCKS)]
        self.control_us, self.first_us = self._seen[-1], median(self._seen)

    @property
    def reference_us(self) -> float:
        """What the control model takes usually, in microseconds: the median of the last times."""
        return median(self._seen)

    def steady(self) -> bool:
        """Time the control model; return whether the machine is as fast as it was.

        What was measured since the last call should be measured again if it is not. A machine that stays at another
        speed becomes the usual after a while.
        """
        reference_us = self.reference_us
        self.control_us = self._time()
        self._seen = [*self._seen, self.control_us][-REMEMBERED:]
        return abs(self.control_us / reference_us - 1.0) <= MAX_CONTROL_DRIFT

    def check(self) -> list[str]:
        """Return what is wrong with the machine's state, one sentence each; none if it is fit."""
        return complaints(self._device.name, self._first, self._device.state())

    def _time(self) -> float:
        return median(self._device.time_block(control_model(), control_feed(), self._threads, CONTROL_RUNS))


def complaints(name: str, first: DeviceState, now: DeviceState) -> list[str]:
    """Return what makes a device unfit for measuring, one sentence each.

    Args:
        name: of the device.
        first: its state at the start.
        now: its state now.
    """
    found = []
    if now.governor is not None and now.governor != FIT_GOVERNOR:
        found.append(
            f"The clock of '{name}' is governed by '{now.governor}', so its speed may change; "
            f"`sudo cpupower frequency-set -g {FIT_GOVERNOR}` holds it."
        )
    if now.load is not None and now.load > MAX_LOAD:
        found.append(f"Something else keeps {now.load:.1f} cores of '{name}' busy; stop it, or expect a wide spread.")
    hot, limit = now.temperature_c, now.temperature_limit_c
    if hot is not None and limit is not None and hot >= limit - MARGIN_C:
        found.append(f"'{name}' is at {hot:.0f} degrees, near the {limit:.0f} at which it slows down; cool it.")
    if first.clock_mhz and now.clock_mhz and abs(now.clock_mhz / first.clock_mhz - 1.0) > MAX_CLOCK_DRIFT:
        found.append(f"The clock of '{name}' went from {first.clock_mhz:.0f} to {now.clock_mhz:.0f} MHz meanwhile.")
    return found
