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
        simulated: name of the target whose core is simulated; None for a real device.
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
    simulated: str | None = None

    @property
    def fingerprint(self) -> str:
        """Canonical text of everything about the device that a latency depends on, however it is used."""
        if self.simulated is not None:
            return f"simulated: {self.simulated}"
        isa = " ".join(flag for flag in SPEED_FLAGS if flag in self.isa)
        return f"cpu: {self.cpu} | isa: {isa} | cores: {self.cores}"

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
    """

    load: float | None
    clock_mhz: float | None
    temperature_c: float | None
    governor: str | None
    temperature_limit_c: float | None = None


def parse_facts(answer: Mapping[str, Any]) -> DeviceFacts:
    """Return the facts in an answer to `hello`.

    Raises:
        ValueError: in one line, what is missing or wrong.
    """
    return _parsed(DeviceFacts, answer)


def parse_state(answer: Mapping[str, Any]) -> DeviceState:
    """Return the state in an answer to `state`; raises as `parse_facts` does."""
    return _parsed(DeviceState, answer)


Parsed = TypeVar("Parsed", DeviceFacts, DeviceState)


def _parsed(kind: type[Parsed], answer: Mapping[str, Any]) -> Parsed:
    known = {field.name for field in fields(kind)} - {"simulated"}  # a real device cannot claim to be simulated
    try:
        return TypeAdapter(kind).validate_python({key: value for key, value in answer.items() if key in known})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"field '{'.'.join(map(str, first['loc']))}': {first['msg']}") from error
