"""The GPUs that CUDA may use, what they are and what they do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .nvml import gpus_of_nvml
from .processor import read
from .smi import gpus_of_smi
from .wire import Header, first_line

GPU_STATE = ("clock_mhz", "max_clock_mhz", "temperature_c", "reasons")


def gpus() -> tuple[list[Header], str]:
    """Return the GPUs that CUDA may use, what they are and do, and in words why there are none."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # so that CUDA and the driver number them alike
    try:
        found = gpus_of_nvml()
        found = gpus_of_smi() if found is None else found
    except RuntimeError as error:
        return [], f"there is no NVIDIA driver that answers ({first_line(error)})"
    if found is None:
        vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
        displays = [one for one in vendors if read(one) == "0x10de" and read(one.parent / "class").startswith("0x03")]
        return [], "there is an NVIDIA GPU but no driver for it" if displays else "there is no NVIDIA GPU"
    visible = _visible(found)
    if found and not visible:
        return [], f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']} hides all {len(found)} NVIDIA GPUs"
    return visible, "" if visible else "there is no NVIDIA GPU"


def _visible(found: list[Header]) -> list[Header]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` names, by number or identifier, up to one that is not there."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return found
    chosen: list[Header] = []
    for name in (part.strip() for part in wanted.split(",")):
        named = [one for one in found if name and (str(one["index"]) == name or one["uuid"].startswith(name))]
        if not named:
            break
        chosen.append(named[0])
    return chosen


def gpu_state() -> Header | None:
    """Return what the first GPU does now, None where nobody tells."""
    found, _ = gpus()
    return {key: found[0][key] for key in GPU_STATE} if found else None


def state_under_load(run: Callable[[], Any]) -> Header | None:
    """Return what the GPU does while it works: runs that nobody times go on until the driver has answered."""
    answers: list[Header | None] = []
    asking = threading.Thread(target=lambda: answers.append(gpu_state()), daemon=True)
    asking.start()
    while asking.is_alive():
        run()
    return answers[0] if answers else None
