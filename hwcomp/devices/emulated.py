r"""An ARM core under emulation: the real runtime runs there, and its executed instructions give the latency.

.. math:: t = n \cdot \mathrm{CPI} / f

n: instructions that a kernel executes; CPI: cycles per instruction in the target's file, from latencies that are
published for such a core; f: its clock. A run takes as long as its kernels and what is executed around them. How long
the emulator takes says nothing, and is never looked at.
"""

import dataclasses
import hashlib
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any, final

from hwcomp.devices.agent.libraries import is_library
from hwcomp.devices.asking import Answer
from hwcomp.devices.connection import Connection
from hwcomp.devices.facts import DeviceFacts, DeviceState
from hwcomp.devices.pipe import PipeDevice
from hwcomp.devices.shipping import archive
from hwcomp.emulation import emulator, guest
from hwcomp.emulation.cores import core
from hwcomp.emulation.counts import Counts, Pace, parse_counts
from hwcomp.emulation.kernels import KernelCount, Readings, check_sequence, kernel_counts, locate
from hwcomp.emulation.probe import MULTIPLICATIONS, probe
from hwcomp.errors import InputError
from hwcomp.lowering.onnxruntime import Array, Feed, Owner, owner_times
from hwcomp.target import Target


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """What a model executes.

    Attributes:
        runs: counts of single runs, until two in a row agreed; the last one is used.
        inside: instructions of the last run inside the runtime, without its Python binding.
        kernels: of a run, in order.
        graph: the optimised model, without weights.
    """

    runs: tuple[Counts, ...]
    inside: int
    kernels: tuple[KernelCount, ...]
    graph: bytes

    @property
    def run(self) -> Counts:
        """Counts of a run once memory is allocated."""
        return self.runs[-1]


@final
class EmulatedDevice(PipeDevice):
    """The core of an ARM target; one thread of it."""

    provenance = "simulated"

    def __init__(self, target: Target) -> None:
        """Check that the core can be emulated; the emulator is started when it is first asked for something.

        Raises:
            InputError: it cannot, or emulation is not prepared.
        """
        super().__init__("emulated")
        self._core, self._pace = core(target.hardware.core), pace(target)
        self._target, self._emulator = target, emulator.find()
        self._folder: Path | None = None
        self._counted: dict[str, Counted] = {}

    def connect(self) -> Connection:
        """Start the agent in the emulator."""
        self._clean()
        self._folder = Path(tempfile.mkdtemp(prefix="hwcomp-emulated-"))
        counts, agent = self._folder / "counts", self._folder / "agent.zip"
        agent.write_bytes(archive())
        script = str(Path(str(guest.__file__)).resolve())
        command = self._emulator.command(self._core, counts, script, str(counts), str(agent))
        return Connection(command, self._emulator.environment() | {"TMPDIR": str(self._folder)})

    def close(self) -> None:
        """End the emulator for good."""
        super().close()
        self._clean()

    def state(self) -> DeviceState:
        """Return a state in which nothing is known: the load of the machine that emulates changes nothing."""
        return DeviceState(load=None, clock_mhz=None, temperature_c=None, governor=None)

    def count(self, model: bytes, feed: Feed) -> Counted:
        """Return what a model executes on one thread; counted once for each model and shapes of its inputs.

        Raises:
            InputError: its kernels cannot be told apart.
        """
        shapes = sorted((name, str(array.dtype), array.shape) for name, array in feed.items())
        key = hashlib.sha256(model + repr(shapes).encode()).hexdigest()
        if key not in self._counted:
            self._counted[key] = self._count(model, feed)
        return self._counted[key]

    def instruction_mix(self, model: bytes, feed: Feed) -> Counts:
        """Return the instructions of one run, by class."""
        if is_library(model):
            return self._count_library(model, feed)
        return self.count(model, feed).run

    def time_block(self, model: bytes, feed: Feed, threads: int, runs: int | None = None) -> list[float]:
        """Return the latency of a run in microseconds, as often as asked: it is the same every time."""
        _check_threads(threads)
        if is_library(model):
            mix = self.instruction_mix(model, feed)
            return [self._pace.us(mix.total, mix)] * (runs or 1)
        counted = self.count(model, feed)
        around = self._pace.us(counted.run.total - counted.inside)
        return [around + sum(self._us(kernel) for kernel in counted.kernels)] * (runs or 1)

    def kernel_times(
        self,
        model: bytes,
        feed: Feed,
        threads: int,
        runs: int,  # noqa: ARG002 - one is enough
        warmup: int,  # noqa: ARG002 - the guest runs until counts repeat
    ) -> dict[Owner, float]:
        """Return the time of each owner's kernels in the context of the whole model, in microseconds per run."""
        _check_threads(threads)
        counted = self.count(model, feed)
        samples: dict[str, list[float]] = {}
        for kernel in counted.kernels:
            samples.setdefault(kernel.name, []).append(self._us(kernel))
        try:
            return owner_times(counted.graph, samples, {name: float(len(values)) for name, values in samples.items()})
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def run(self, model: bytes, feed: Feed, threads: int) -> list[Array]:
        """Return the outputs of one run."""
        _check_threads(threads)
        self._check_runtime(model)
        return super().run(model, feed, 1)

    def _count_library(self, model: bytes, feed: Feed) -> Counts:
        """Return what a library of TVM executes in a run; its kernels are not told apart."""
        self._check_runtime(model)
        header, _ = self._about(model, "time", feed, 1, {"runs": None, "warmup": 1})
        try:
            return self._parsed(header, "runs")[-1]
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def _check_runtime(self, model: bytes) -> None:
        site = emulator.tvm_site(self._emulator.root, self._emulator.python)
        if is_library(model) and not site.is_dir():
            raise InputError(
                f"Emulation of TVM {emulator.tvm_version()} on ARM is not prepared; run `hwcomp setup tvm` once."
            )

    @cached_property
    def _readings(self) -> Readings:
        """How this version of the runtime reads the clock."""
        _, clocks, _ = self._profile(*probe())
        try:
            return locate(clocks, MULTIPLICATIONS)
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def _count(self, model: bytes, feed: Feed) -> Counted:
        header, _ = self._about(model, "time", feed, 1, {"runs": None, "warmup": 1})
        try:
            runs, clocks = self._parsed(header, "runs"), self._parsed(header, "clocks")
        except ValueError as error:
            raise self.disbelieved(str(error)) from error
        inside = (clocks[-1] - clocks[0]).total
        readings = self._readings
        names, clocks, graph = self._profile(model, feed)
        try:
            check_sequence(graph)
            kernels = kernel_counts(clocks, names, readings, inside)
        except ValueError as error:
            raise InputError(
                f"The instructions of this model's kernels cannot be told apart: {error}; a model with loops or "
                "branches needs a real board (--device ssh://...)."
            ) from error
        return Counted(runs=tuple(runs), inside=inside, kernels=tuple(kernels), graph=graph)

    def _profile(self, model: bytes, feed: Feed) -> tuple[list[str], list[Counts], bytes]:
        """Return the kernels of a profiled run in order, the counters at its readings of the clock, and its graph."""
        header, blobs = self._about(model, "profile", feed, 1, {"runs": 1, "warmup": 1})
        try:
            clocks, names = self._parsed(header, "clocks"), [str(name) for name in header.get("kernels") or ()]
        except ValueError as error:
            raise self.disbelieved(str(error)) from error
        return names, clocks, b"".join(blobs)

    def _parsed(self, header: dict[str, Any], name: str) -> list[Counts]:
        values = header.get(name)
        if not isinstance(values, list) or not values:
            raise ValueError(f"no list of {name}")
        return [parse_counts(value) for value in values]

    def _us(self, kernel: KernelCount) -> float:
        return self._pace.us(kernel.instructions, kernel.mix)

    def _facts_in(self, answer: Answer) -> DeviceFacts:
        """Return the facts of the core: what the guest sees of the machine that emulates is not one."""
        found = super()._facts_in(answer)
        return dataclasses.replace(
            found, simulated=self._target.name, cores=1, governor=None, clock_mhz=None, temperature_c=None
        )

    def _clean(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def pace(target: Target) -> Pace:
    """Return how long instructions take on a target's core.

    Raises:
        InputError: its file does not say.
    """
    hardware = target.hardware
    if hardware.cycles_per_instruction is None:
        raise InputError(
            f"Target '{target.name}' has no `cycles_per_instruction` under [hardware], so instructions give no "
            "latency; add it, or take one of the arm targets."
        )
    return Pace(
        float_cycles=hardware.cycles_per_instruction,
        integer_cycles=hardware.integer_cycles_per_instruction or hardware.cycles_per_instruction,
        clock_ghz=hardware.clock_ghz,
    )


def _check_threads(threads: int) -> None:
    if threads != 1:
        raise InputError(
            f"Emulation counts the instructions of one thread; found {threads} threads: use --threads 1, or a real "
            "board with --device ssh://..."
        )
