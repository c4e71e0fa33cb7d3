"""What TensorRT compiled: kept while the process lives; it takes minutes, and every block of runs needs it again."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from pathlib import Path

from .wire import Source

FOLDER: list[str] = []
"""The folder of this process, once there is one."""


def cache_options(source: Source) -> dict[str, str]:
    """Return the options by which TensorRT keeps its engine for a model, and its timings of kernels for all.

    Each model has a folder of its own: TensorRT tells engines apart by the graph, and not by the weights.
    """
    if not FOLDER:
        FOLDER.append(tempfile.mkdtemp(prefix="hwcomp-engines-"))  # only its owner may read and write it
        atexit.register(shutil.rmtree, FOLDER[0], ignore_errors=True)
    name = Path(source).name if isinstance(source, str) else hashlib.sha256(source).hexdigest()
    own = Path(FOLDER[0]) / name
    own.mkdir(exist_ok=True)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(own),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": FOLDER[0],
    }
