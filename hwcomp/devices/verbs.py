"""A device that an agent answers for: requests out, checked answers back, however they travel."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwcomp.devices import checks
from hwcomp.devices.agent.providers import CPU
from hwcomp.devices.agent.wire import PROTOCOL
from hwcomp.devices.base import WARMUP, Device
from hwcomp.devices.facts import DeviceFacts, DeviceState, GpuState, parse_facts, parse_gpu_state, parse_state
from hwcomp.devices.launch import RUNS as LAUNCH_RUNS
from hwcomp.devices.launch import Launch, launch_feed, measured_launch
from hwcomp.errors import DeviceError, DeviceMemoryError, DeviceThrottled, LoweringError
from hwcomp.lowering.onnxruntime import Array, Feed, Owner, owner_times

BLOCK_S = 0.25
"""Time that a block of runs should take."""

SENDINGS = 4
"""A model is sent again when the agent that had it is gone, or had to drop it."""

Answer = tuple[dict[str, Any], list[bytes]]
Profile = tuple[dict[str, list[float]], dict[str, float], bytes]


class AgentDevice(Device):
    """Speaks the agent's protocol; a subclass carries one request there and its answer back.

    Attributes:
        provider: what computes there, see `hwcomp.devices.agent.providers`.
        limited: blocks during which the power limit held a GPU's clock.
    """

    def __init__(self, provider: str = CPU) -> None:
        self.provider, self.limited = provider, 0
        self._facts: DeviceFacts | None = None
        self._launch: Launch | None = None

    @abstractmethod
    def ask(self, verb: str, fields: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> Answer:
        """Return the answer to one request as it came, whether it is good or bad news.

        Raises:
            DeviceError: the device is lost, or does not speak the protocol.
        """

    def facts(self) -> DeviceFacts:
        """Return what the device is, asked once."""
        if self._facts is None:
            self._facts = self._facts_in(self.ask("hello", {}))
        return self._facts

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

    def launch_us(self) -> float | None:
        """Return what launching each kernel of a run costs in microseconds; the processor's own kernels need none."""
        return None if self.provider == CPU else self._measured_launch().queued_us

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

    def disbelieved(self, what: str) -> DeviceError:
        """Return the error for an answer that cannot be right."""
        return DeviceError(
            f"The device '{self.name}' answered {checks.printable(what)}, which cannot be right: nothing that it "
            "measures is used; look at the device and its agent."
        )

    def _facts_in(self, answer: Answer) -> DeviceFacts:
        """Return the facts in an answer to `hello`."""
        header, _ = self._good("hello", answer)
        if header.get("protocol") != PROTOCOL:
            raise self.disbelieved(f"protocol {header.get('protocol')!r}, where {PROTOCOL} is spoken here")
        try:
            return replace(parse_facts(header), provider=self.provider)
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def _about(self, model: bytes, verb: str, feed: Feed, threads: int, options: Mapping[str, Any]) -> Answer:
        """Ask about a model, which is sent where the agent does not have it."""
        key = hashlib.sha256(model).hexdigest()
        fields, arrays = self._fields(key, feed, threads, options)
        for _ in range(SENDINGS):
            header, blobs = self.ask(verb, fields, arrays)
            if header.get("ok") is True or header.get("kind") != "missing":
                return self._good(verb, (header, blobs))
            self._good("put", self.ask("put", {"sha256": key}, [model]))
        raise self.disbelieved("again and again that it does not have a model it was sent")

    def _fields(
        self, key: str, feed: Feed, threads: int, options: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Return the fields of a request about a model, and its inputs; one thread feeds a GPU."""
        described, arrays = describe(feed)
        fields = {"model": key, "feed": described, "threads": threads, **options}
        if self.provider != CPU:
            fields |= {"threads": 1, "provider": self.provider}
        return fields, arrays

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

    def _good(self, verb: str, answer: Answer) -> Answer:
        """Return an answer that is good news.

        Raises:
            LoweringError: the model or its inputs are at fault.
            DeviceError: the device is.
        """
        header, _ = answer
        is_about_model = verb in ("time", "profile", "run")
        if header.get("ok") is True:
            if is_about_model and self.provider != CPU and header.get("provider") != self.provider:
                raise self.disbelieved(f"by '{header.get('provider')}', where '{self.provider}' was asked to compute")
            return answer
        said = checks.printable(str(header.get("error", "nothing")))
        where = "" if self.name == "local" else f"On the device '{self.name}': "
        if header.get("kind") == "prerequisite":
            raise DeviceError(f"{where}{said}; run `pip install onnxruntime numpy` there.")
        if header.get("kind") == "memory":
            raise DeviceMemoryError(f"{where}{said}; give `example_inputs` of a smaller batch, or use a larger GPU.")
        if header.get("kind") == "gpu":
            raise DeviceError(f"{where}{said}.")
        if is_about_model:
            raise LoweringError(f"{where}{said}")
        raise DeviceError(f"{where}{said} (asked to '{verb}').")


def describe(feed: Feed) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the descriptions of inputs, and their contents."""
    arrays = {name: np.ascontiguousarray(array) for name, array in feed.items()}
    described = [
        {"name": name, "dtype": str(array.dtype), "shape": list(feed[name].shape)} for name, array in arrays.items()
    ]
    return described, [array.tobytes() for array in arrays.values()]
