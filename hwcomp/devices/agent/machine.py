"""What this machine is, and the state that it is in."""

from __future__ import annotations

import platform
import sys
import time

from . import processor
from .gpus import gpu_state, gpus
from .wire import PROTOCOL, Header, Refused

LOAD_WINDOW_S = 0.2
GPU_FACTS = ("name", "compute", "memory_bytes", "driver", "cuda")


def facts() -> Header:
    """Return what this machine is and what it runs models with."""
    found: Header = {
        "protocol": PROTOCOL,
        "machine": platform.machine(),
        "cpu": processor.cpu_name(),
        "isa": processor.isa(),
        "cores": len(processor.cpus()),
    }
    try:
        import numpy as np  # noqa: PLC0415 - told where it is missing
        import onnxruntime as ort  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise Refused(f"{sys.executable} there has no {error.name or 'onnxruntime'}", "prerequisite") from None
    frozen = {
        "governor": processor.governor(),
        "clock_mhz": processor.clock_mhz(),
        "temperature_c": processor.temperature_c()[0],
    }
    devices, problem = gpus()
    described = [{key: one[key] for key in GPU_FACTS} for one in devices]
    return {
        **found, **frozen, "gpus": described, "gpu_problem": problem,
        "runtimes": {"onnxruntime": ort.__version__}, "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip


def state() -> Header:
    """Return what changes while one measures; None where the system does not tell.

    ``load`` is the number of cores that others keep busy: models are at rest while it is taken.
    """
    before, start = processor.busy_s(), time.monotonic()
    time.sleep(LOAD_WINDOW_S)
    after, window_s = processor.busy_s(), time.monotonic() - start
    temperature_c, limit_c = processor.temperature_c()
    return {
        "load": None if before is None or after is None else max(0.0, after - before) / window_s,
        "clock_mhz": processor.clock_mhz(),
        "governor": processor.governor(),
        "temperature_c": temperature_c,
        "temperature_limit_c": limit_c,
        "gpu": gpu_state(),
    }
