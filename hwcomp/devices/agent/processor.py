"""What Linux tells of the processor: its name, its instructions, its clock, how warm and how busy it is."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd48": "Cortex-X2", "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}  # fmt: skip
"""Cores that Arm designed, by the part number that the kernel shows."""


def read(path: str | Path) -> str:
    """Return what a file of the kernel shows; nothing where there is no such file."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def cpus() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_name() -> str:
    """Return the name of the processor, or of its kinds of cores."""
    text = read("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    parts = sorted(set(re.findall(r"^CPU part\s*:\s*(\S+)$", text, re.MULTILINE)))
    if parts and re.search(r"^CPU implementer\s*:\s*0x41$", text, re.MULTILINE):
        return " + ".join(ARM_PARTS.get(part, f"Arm {part}") for part in parts)
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def isa() -> list[str]:
    """Return the sets of instructions that the kernel lists."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", read("/proc/cpuinfo"), re.MULTILINE)
    return sorted(set(match.group(1).split())) if match else []


def governor() -> str | None:
    """Return what decides about the clock, None where the system does not tell."""
    governors = {read(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor") for cpu in cpus()} - {""}
    return " + ".join(sorted(governors)) or None


def clock_mhz() -> float | None:
    """Return the clock of the fastest core now, None where the system does not tell."""
    shown = [read(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq") for cpu in cpus()]
    clocks = [int(text) / 1e3 for text in shown if text.isdigit()]
    clocks = clocks or [
        float(mhz) for mhz in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", read("/proc/cpuinfo"), re.MULTILINE)
    ]
    return max(clocks, default=None)


def temperature_c(zones: str = "/sys/class/thermal") -> tuple[float | None, float | None]:
    """Return the temperature of the zone that is nearest to where the system slows down, and that limit."""
    found: list[tuple[float, float | None]] = []
    for zone in Path(zones).glob("thermal_zone*"):
        shown = read(zone / "temp")
        kinds = [(read(kind), read(str(kind)[: -len("type")] + "temp")) for kind in zone.glob("trip_point_*_type")]
        limits = [int(text) / 1e3 for kind, text in kinds if kind in ("passive", "hot", "critical") and text.isdigit()]
        if shown.isdigit() and int(shown) > 0:
            found.append((int(shown) / 1e3, min((limit for limit in limits if limit > 0), default=None)))
    bounded = [(temperature, limit) for temperature, limit in found if limit is not None]
    if bounded:
        return max(bounded, key=lambda pair: pair[0] - (pair[1] or 0.0))
    return max(found, default=(None, None))


def busy_s() -> float | None:
    """Return the seconds that this machine's usable cores were busy since it started."""
    rows = re.findall(r"^cpu(\d+) (.*)$", read("/proc/stat"), re.MULTILINE)
    ticks = [[int(value) for value in row.split()] for cpu, row in rows if int(cpu) in cpus()]
    if not ticks:
        return None
    idle_and_waiting = (3, 4)
    busy = sum(value for row in ticks for index, value in enumerate(row[:8]) if index not in idle_and_waiting)
    return busy / os.sysconf("SC_CLK_TCK")
