"""GPUs as the library of NVIDIA's driver describes them, NVML."""

from __future__ import annotations

from typing import Any

from .wire import Header

GPU_NEWS = {
    0x2: "fixed clocks", 0x4: "power limit", 0x8: "hardware slowdown", 0x10: "clocks shared with other GPUs",
    0x20: "heat, by software", 0x40: "heat, by hardware", 0x80: "power brake", 0x100: "display clocks",
}  # fmt: skip
"""Why a GPU is slower than it could be: bits of NVML, nvmlClocksEventReasons; being idle is none of them."""


def gpus_of_nvml() -> list[Header] | None:
    """Return all GPUs by the driver's own library, None if that or its Python package is not here.

    Raises:
        RuntimeError: the driver does not answer.
    """
    try:
        import pynvml as nvml  # noqa: PLC0415 - only where it is installed
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        numbers = range(nvml.nvmlDeviceGetCount())
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        cuda = int(nvml.nvmlSystemGetCudaDriverVersion())
        handles = [(number, nvml.nvmlDeviceGetHandleByIndex(number)) for number in numbers]
        named = [(number, one, _text(nvml.nvmlDeviceGetName(one))) for number, one in handles]
    except nvml.NVMLError as error:
        if "not found" in str(error).lower():  # the library is a part of the driver
            return None
        raise RuntimeError(str(error)) from error

    def told(name: str, *arguments: Any) -> Any:
        """Return an answer, None where this GPU or driver does not know it."""
        try:
            return getattr(nvml, name)(*arguments)
        except (nvml.NVMLError, AttributeError):
            return None

    found = []
    for number, one, name in named:
        compute, memory = told("nvmlDeviceGetCudaComputeCapability", one), told("nvmlDeviceGetMemoryInfo", one)
        reasons = told("nvmlDeviceGetCurrentClocksEventReasons", one)
        reasons = told("nvmlDeviceGetCurrentClocksThrottleReasons", one) if reasons is None else reasons
        found.append(
            {
                "index": number,
                "uuid": _text(told("nvmlDeviceGetUUID", one) or ""),
                "name": name,
                "driver": driver,
                "compute": None if compute is None else f"{compute[0]}.{compute[1]}",
                "memory_bytes": None if memory is None else int(memory.total),
                "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
                "clock_mhz": told("nvmlDeviceGetClockInfo", one, getattr(nvml, "NVML_CLOCK_SM", 1)),
                "max_clock_mhz": told("nvmlDeviceGetMaxClockInfo", one, getattr(nvml, "NVML_CLOCK_SM", 1)),
                "temperature_c": told("nvmlDeviceGetTemperature", one, getattr(nvml, "NVML_TEMPERATURE_GPU", 0)),
                "reasons": slowdowns(reasons),
            }
        )
    return found


def slowdowns(bits: int | None) -> list[str]:
    """Return in words why a GPU is slower than it could be."""
    return [] if bits is None else [text for bit, text in GPU_NEWS.items() if bits & bit]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
