"""What a device is, and the state that it is in while it measures."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

SPEED_FLAGS = (
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
    "sme",
)  # fmt: skip
"""Instruction sets that decide which kernels a runtime picks, as the Linux kernel names them."""


SLOWING = ("hardware slowdown", "heat, by software", "heat, by hardware", "power brake")
"""What makes a GPU slower for a while, and not only as slow as it always is under load, as its power limit does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuFacts:
    """What a GPU is; None where its driver does not tell.

    Attributes:
        name: of the product.
        compute: capability, "9.0".
        memory_bytes: all of it.
        driver: version.
        cuda: newest version of CUDA that the driver is for.
    """

    name: str
    compute: str | None = None
    memory_bytes: int | None = None
    driver: str | None = None
    cuda: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuState:
    """What a GPU does; None where its driver does not tell.

    Attributes:
        clock_mhz: of the multiprocessors.
        max_clock_mhz: what that can be.
        temperature_c: of the chip.
        reasons: why its clock is not higher, in words.
    """

    clock_mhz: float | None = None
    max_clock_mhz: float | None = None
    temperature_c: float | None = None
    reasons: tuple[str, ...] = ()

    @property
    def slowed(self) -> tuple[str, ...]:
        """The reasons that make what is measured now another device's."""
        return tuple(reason for reason in self.reasons if reason in SLOWING)

    def __str__(self) -> str:
        """Return the clock and the temperature in words, as far as they are known."""
        clock = None if self.clock_mhz is None else f"{self.clock_mhz:.0f}"
        if clock and self.max_clock_mhz is not None:
            clock += f" of {self.max_clock_mhz:.0f}"
        heat = None if self.temperature_c is None else f"{self.temperature_c:.0f} degrees"
        return ", ".join(part for part in (clock and f"{clock} MHz", heat) if part) or "clock unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFacts:
    """What a device is and runs models with.

    Attributes:
        machine: architecture, as ``platform.machine()`` names it.
        cpu: its name.
        isa: all instruction sets, as the Linux kernel names them.
        cores: that may be used.
        governor: of the clock; None where the system does not tell, like the next two.
        clock_mhz: as observed.
        temperature_c: as observed.
        runtimes: runtime -> version.
        python: version.
        numpy: version.
        gpus: that CUDA may use there; it takes the first.
        gpu_problem: in words, why there is none.
        simulated: name of the target whose core is simulated; None for a real device.
        provider: what computes: "cpu", or with the first GPU "cuda" or "tensorrt".
    """

    machine: str
    cpu: str
    isa: tuple[str, ...]
    cores: int
    governor: str | None
    clock_mhz: float | None
    temperature_c: float | None
    runtimes: Mapping[str, str]
    python: str
    numpy: str
    gpus: tuple[GpuFacts, ...] = ()
    gpu_problem: str = ""
    simulated: str | None = None
    provider: str = "cpu"

    @property
    def fingerprint(self) -> str:
        """Canonical text of everything about the device that a latency depends on, however it is used."""
        if self.simulated is not None:
            return f"simulated: {self.simulated}"
        isa = " ".join(flag for flag in SPEED_FLAGS if flag in self.isa)
        cpu = f"cpu: {self.cpu} | isa: {isa} | cores: {self.cores}"
        if self.provider == "cpu" or not self.gpus:
            return cpu
        gpu = self.gpus[0]
        return f"gpu: {gpu.name} | compute: {gpu.compute} | provider: {self.provider} | cpu: {self.cpu}"

    @property
    def runtime(self) -> str:
        """Name and version of the runtime that models run in."""
        return f"onnxruntime {self.runtimes.get('onnxruntime', 'missing')}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceState:
    """What may change while one measures; None where the system does not tell.

    Attributes:
        load: cores that others keep busy.
        clock_mhz: of the fastest core.
        temperature_c: of the zone that is nearest to its limit.
        temperature_limit_c: where the system slows down or stops.
        governor: of the clock.
        gpu: what the first GPU does; None if there is none.
    """

    load: float | None
    clock_mhz: float | None
    temperature_c: float | None
    governor: str | None
    temperature_limit_c: float | None = None
    gpu: GpuState | None = None


def parse_facts(answer: Mapping[str, Any]) -> DeviceFacts:
    """Return the facts in an answer to `hello`.

    Raises:
        ValueError: in one line, what is missing or wrong.
    """
    return _parsed(DeviceFacts, answer)


def parse_state(answer: Mapping[str, Any]) -> DeviceState:
    """Return the state in an answer to `state`; raises as `parse_facts` does."""
    return _parsed(DeviceState, answer)


def parse_gpu_state(answer: Mapping[str, Any]) -> GpuState:
    """Return the state of a GPU under load in an answer to `time` or `profile`; raises as `parse_facts` does."""
    return _parsed(GpuState, answer)


Parsed = TypeVar("Parsed", DeviceFacts, DeviceState, GpuState)


def _parsed(kind: type[Parsed], answer: Mapping[str, Any]) -> Parsed:
    known = {field.name for field in fields(kind)} - {"simulated", "provider"}  # what is asked for, not told
    try:
        return TypeAdapter(kind).validate_python({key: value for key, value in answer.items() if key in known})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"field '{'.'.join(map(str, first['loc']))}': {first['msg']}") from error
