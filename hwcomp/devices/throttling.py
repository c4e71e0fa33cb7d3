"""A GPU that is only measured while it does not slow itself down.

Where it is too hot, or its supply too weak, a GPU lowers its clock for a while. Its driver tells, and the agent asks it
while the model still runs. What was measured meanwhile is measured again after a pause; if the GPU is slow for longer
than there is patience, that is an error and not a latency.

A power limit that the GPU always reaches under load is another thing: small cards run like that all day. It is kept
beside the measurements as a remark.
"""

from collections.abc import Callable
from typing import TypeVar, final

from hwcomp.devices.base import Device
from hwcomp.devices.facts import DeviceFacts, DeviceState
from hwcomp.devices.steady import PATIENCE_VARIABLE, Clock
from hwcomp.errors import DeviceThrottled
from hwcomp.lowering.onnxruntime import Array, Feed, Owner

PAUSE_S = 2.0
Result = TypeVar("Result")


@final
class UnthrottledDevice(Device):
    """Another device with a GPU, measured while that is at its usual speed.

    Attributes:
        waited_s: seconds spent on pauses and on blocks that were repeated, in all.
    """

    def __init__(self, device: Device, patience: float, clock: Clock | None = None) -> None:
        """Wrap a device; ``patience`` is in seconds, for one block."""
        self.name, self.provenance = device.name, device.provenance
        self.waited_s = 0.0
        self._device, self._patience, self._clock = device, patience, clock or Clock()

    def facts(self) -> DeviceFacts:
        """Return what the device is."""
        return self._device.facts()

    def state(self) -> DeviceState:
        """Return the state it is in now."""
        return self._device.state()

    def time_block(self, model: bytes, feed: Feed, threads: int, runs: int | None = None) -> list[float]:
        """Return the times in microseconds of runs in a fresh, warmed-up session."""
        return self._cool(lambda: self._device.time_block(model, feed, threads, runs))

    def kernel_times(self, model: bytes, feed: Feed, threads: int, runs: int, warmup: int) -> dict[Owner, float]:
        """Return the time of each owner's kernels in the context of the whole model, in microseconds per run."""
        return self._cool(lambda: self._device.kernel_times(model, feed, threads, runs, warmup))

    def run(self, model: bytes, feed: Feed, threads: int) -> list[Array]:
        """Return the outputs of one run."""
        return self._device.run(model, feed, threads)

    def launches_us(self) -> dict[str, float]:
        """Return what launching each kernel of a run costs in microseconds."""
        return self._cool(self._device.launches_us)

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()

    def remarks(self) -> list[str]:
        """Return what is to be known of the measurements: how long was waited for the GPU to cool."""
        if not self.waited_s:
            return self._device.remarks()
        remark = f"Blocks were measured again on '{self.name}' while its GPU slowed down: {self.waited_s:.0f} s."
        return [remark, *self._device.remarks()]

    def _cool(self, measure: Callable[[], Result]) -> Result:
        """Return what was measured at the usual speed.

        Raises:
            DeviceThrottled: the GPU is slow for longer than there is patience.
        """
        first, tries = self._clock.now(), 0
        while True:
            start, tries = self._clock.now(), tries + 1
            try:
                return measure()
            except DeviceThrottled as error:
                spent = self._clock.now() - first
                if spent + PAUSE_S > self._patience:
                    raise DeviceThrottled(
                        f"{error} It did so {tries} times in {spent:.0f} s: cool it or let it rest, and run the "
                        f"command again, which goes on from here ({PATIENCE_VARIABLE}=120 waits longer)."
                    ) from error
                self._clock.sleep(PAUSE_S)
                self.waited_s += self._clock.now() - start
