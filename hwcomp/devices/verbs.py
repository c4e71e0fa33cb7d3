"""A device that an agent answers for: each verb is asked, and its answer checked before it is used."""

from collections.abc import Mapping
from typing import Any

from hwcomp.devices import checks
from hwcomp.devices.agent.providers import CPU
from hwcomp.devices.asking import AskedDevice
from hwcomp.devices.base import WARMUP
from hwcomp.devices.facts import DeviceState, GpuState, parse_gpu_state, parse_state
from hwcomp.devices.launch import RUNS as LAUNCH_RUNS
from hwcomp.devices.launch import Launch, launch_feed, measured_launch
from hwcomp.errors import DeviceThrottled
from hwcomp.lowering.onnxruntime import Array, Feed, Owner, owner_times

BLOCK_S = 0.25
"""Time that a block of runs should take."""

Profile = tuple[dict[str, list[float]], dict[str, float], bytes]


class AgentDevice(AskedDevice):
    """Measures by the agent's verbs; how a request gets there is up to a subclass.

    Attributes:
        limited: blocks during which the power limit held a GPU's clock.
    """

    def __init__(self, provider: str = CPU) -> None:
        super().__init__(provider)
        self.limited = 0
        self._launch: Launch | None = None

    def state(self) -> DeviceState:
        """Return the state it is in now."""
        header, _ = self._good("state", self.ask("state", {}))
        try:
            return parse_state(header)
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def time_block(self, model: bytes, feed: Feed, threads: int, runs: int | None = None) -> list[float]:
        """Return the times in microseconds of runs in a fresh, warmed-up session."""
        options = {"runs": runs, "block_s": BLOCK_S, "warmup": WARMUP}
        header, _ = self._about(model, "time", feed, threads, options)
        self._check_speed(header)
        try:
            return checks.times_us(header.get("us"), runs)
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def kernel_times(self, model: bytes, feed: Feed, threads: int, runs: int, warmup: int) -> dict[Owner, float]:
        """Return the time of each owner's kernels in the context of the whole model, in microseconds per run."""
        samples, per_run, graph = self._profiled(model, feed, threads, runs, warmup)
        if self.provider != CPU:
            launch = self._measured_launch()
            samples = {name: [launch.in_queue_us(us) for us in values] for name, values in samples.items()}
        try:
            return owner_times(graph, samples, per_run)
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def run(self, model: bytes, feed: Feed, threads: int) -> list[Array]:
        """Return the outputs of one run."""
        header, blobs = self._about(model, "run", feed, threads, {})
        try:
            return checks.arrays(header.get("outputs"), blobs)
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def launches_us(self) -> dict[str, float]:
        """Return what launching each kernel of a run costs in microseconds; the processor's own kernels need none."""
        return {} if self.provider == CPU else self._measured_launch().entries_us

    def _measured_launch(self) -> Launch:
        """Return what launching costs on the GPU, measured once."""
        if self._launch is None:
            feed = launch_feed()
            self._launch = measured_launch(
                lambda model: self.time_block(model, feed, 1, LAUNCH_RUNS),
                lambda model: self._profiled(model, feed, 1, LAUNCH_RUNS, WARMUP)[0],
            )
        return self._launch

    def _profiled(self, model: bytes, feed: Feed, threads: int, runs: int, warmup: int) -> Profile:
        """Return the durations of every kernel as they were profiled, its executions per run, and the graph."""
        header, blobs = self._about(model, "profile", feed, threads, {"runs": runs, "warmup": warmup})
        self._check_speed(header)
        try:
            return (*checks.kernels_us(header, runs), b"".join(blobs))
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def remarks(self) -> list[str]:
        """Return what is to be known of the measurements: whether the GPU's power limit held its clock."""
        if not self.limited:
            return []
        remark = (
            f"During {self.limited} blocks the power limit of the GPU of '{self.name}' held its clock below its best, "
            "as it does under such load: latencies are those of the GPU with this limit."
        )
        return [remark]

    def _check_speed(self, header: Mapping[str, Any]) -> None:
        """Check what a GPU did while it was measured.

        Raises:
            DeviceThrottled: it was not at its usual speed.
        """
        if self.provider == CPU or header.get("gpu") is None:
            return
        try:
            state: GpuState = parse_gpu_state(header["gpu"])
        except (ValueError, AttributeError) as error:
            raise self.disbelieved(str(error)) from error
        if state.slowed:
            name = self._facts.gpus[0].name if self._facts and self._facts.gpus else "GPU"
            raise DeviceThrottled(
                f"The {name} of '{self.name}' slowed down while measured: {' and '.join(state.slowed)} ({state})."
            )
        self.limited += "power limit" in state.reasons
