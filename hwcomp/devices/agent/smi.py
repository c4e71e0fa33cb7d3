"""GPUs as the tool of NVIDIA's driver describes them, ``nvidia-smi``."""

from __future__ import annotations

import re
import shutil
import subprocess

from .nvml import slowdowns
from .wire import Header

SMI_FIELDS = (
    "index", "uuid", "name", "compute_cap", "memory.total", "driver_version", "clocks.sm", "clocks.max.sm",
    "temperature.gpu", "clocks_throttle_reasons.active",
)  # fmt: skip
SMI_TIMEOUT_S = 30.0


def gpus_of_smi() -> list[Header] | None:
    """Return all GPUs by ``nvidia-smi``, None if that is not here; raises as `gpus_of_nvml` does."""
    if shutil.which("nvidia-smi") is None:
        return None
    table = _smi(f"--query-gpu={','.join(SMI_FIELDS)}", "--format=csv,noheader,nounits")
    cuda = re.search(r"CUDA Version:\s*(\d+\.\d+)", _smi())
    found = []
    for row in table.splitlines():
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) != len(SMI_FIELDS):
            continue  # "No devices were found"
        index, uuid, name, compute, memory_mib, driver, clock, most, temperature, reasons = cells
        found.append(
            {
                "index": int(index),
                "uuid": uuid,
                "name": name,
                "driver": driver,
                "compute": compute if _number(compute) is not None else None,
                "memory_bytes": None if _number(memory_mib) is None else int(memory_mib) * 2**20,
                "cuda": cuda.group(1) if cuda else None,
                "clock_mhz": _number(clock),
                "max_clock_mhz": _number(most),
                "temperature_c": _number(temperature),
                "reasons": slowdowns(int(reasons, 16) if reasons.startswith("0x") else None),
            }
        )
    return found


def _smi(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - no shell reads it
            ["nvidia-smi", *arguments],  # noqa: S607 - where the user's PATH has it
            capture_output=True,
            text=True,
            timeout=SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"nvidia-smi: {error}") from error
    said = done.stdout.strip() or done.stderr.strip()
    if done.returncode and "no devices were found" not in said.lower():
        raise RuntimeError(said or f"nvidia-smi ended with code {done.returncode}")
    return said


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None
