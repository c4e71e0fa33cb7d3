"""What every device offers: it runs models, times them, and says what it is."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, final

from hwcomp.devices.facts import DeviceFacts, DeviceState
from hwcomp.lowering.onnxruntime import Array, Feed, Owner
from hwcomp.provenance import Provenance

if TYPE_CHECKING:
    from typing_extensions import Self

PROFILE_BLOCK_S = 0.15
MIN_PROFILED_RUNS, MAX_PROFILED_RUNS = 7, 60
WARMUP = 3


class Device(ABC):
    """Something that runs models; one kind per file. Use it in a ``with`` statement, or close it.

    Attributes:
        name: as the user named it.
        provenance: of the latencies that it gives.
    """

    name: str
    provenance: Provenance = "measured"

    @abstractmethod
    def facts(self) -> DeviceFacts:
        """Return what the device is."""

    @abstractmethod
    def state(self) -> DeviceState:
        """Return the state it is in now; no model may be running."""

    @abstractmethod
    def time_block(self, model: bytes, feed: Feed, threads: int, runs: int | None = None) -> list[float]:
        """Return the times in microseconds of runs in a fresh, warmed-up session.

        Without ``runs`` their number fits a block of a quarter of a second.

        Raises:
            LoweringError: the runtime there cannot load or run the model.
            DeviceError: the device is lost, or its answer cannot be believed.
        """

    @abstractmethod
    def kernel_times(self, model: bytes, feed: Feed, threads: int, runs: int, warmup: int) -> dict[Owner, float]:
        """Return the time of each owner's kernels in the context of the whole model, in microseconds per run.

        Raises as `time_block` does.
        """

    @abstractmethod
    def run(self, model: bytes, feed: Feed, threads: int) -> list[Array]:
        """Return the outputs of one run; raises as `time_block` does."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the device; it may be called more than once, and from another thread."""

    def launches_us(self) -> dict[str, float]:
        """Return what launching each kernel of a run costs in microseconds, by its key in the latency store.

        It is empty where launching is no cost of its own. Raises as `time_block` does.
        """
        return {}

    def remarks(self) -> list[str]:
        """Return what is to be known of the measurements so far, one sentence each."""
        return []

    @final
    def profile(self, model: bytes, feed: Feed, threads: int, latency_us: float) -> dict[Owner, float]:
        """Return `kernel_times` over as many runs as fit a block; ``latency_us`` of the whole decides."""
        runs = max(MIN_PROFILED_RUNS, min(MAX_PROFILED_RUNS, int(PROFILE_BLOCK_S * 1e6 / latency_us)))
        return self.kernel_times(model, feed, threads, runs, WARMUP)

    @final
    def __enter__(self) -> "Self":
        return self

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
