"""TVM's runtime: which part of it is loaded, and whether it can run a library's code."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

from .gpus import gpus
from .processor import cpus
from .wire import Refused, first_line

TVM_CPU, TVM_GPU, TVM_POOL, TVM_ALL_CORES = 1, 2, 2, 1
"""What TVM calls the processor, NVIDIA's GPUs, an allocator that keeps memory, and threads that may run on any core."""

NO_TVM = "{} there has no apache-tvm, which this model needs"

TVM_EXISTS, TVM_COMPUTE = 0, 4
"""What TVM tells of a device: whether it is there, and its compute capability."""


def tvm_runtime() -> Any:
    """Return TVM's interface, with its runtime loaded and as many threads as there are cores to choose from."""
    os.environ.setdefault("TVM_NUM_THREADS", str(len(cpus())))
    os.environ.setdefault("TVM_BIND_THREADS", "0")  # other runtimes in this process choose their cores, too
    try:
        import tvm_ffi  # noqa: PLC0415 - only where a library is run
    except ImportError:
        raise Refused(NO_TVM.format(sys.executable), "runtime") from None
    ctypes.CDLL(_library_path("libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
    return tvm_ffi


def _library_path(name: str) -> str:
    package = importlib.util.find_spec("tvm")
    if package is None or not package.submodule_search_locations:
        raise Refused(NO_TVM.format(sys.executable), "runtime")
    return str(Path(package.submodule_search_locations[0]) / "lib" / name)


def tvm_function(name: str) -> Any:
    """Return a function of TVM's runtime."""
    import tvm_ffi  # noqa: PLC0415 - see above

    return tvm_ffi.get_global_func(f"runtime.{name}")


def load_gpu_runtime(compute: str) -> None:
    """Load TVM's runtime for NVIDIA GPUs, and see that the first GPU can run code of an architecture."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise Refused(f"the model is for an NVIDIA GPU, and {gpus()[1] or 'its driver is not here'}", "gpu") from None
    library = _library_path("libtvm_runtime_cuda.so")
    for toolkit in (None, *_cuda_runtimes()):  # one that pip installed is not found by the system's loader
        try:
            if toolkit is not None:
                ctypes.CDLL(str(toolkit), ctypes.RTLD_GLOBAL)
            ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
            break
        except OSError as error:
            reason = first_line(error)
    else:
        raise Refused(
            f"TVM's runtime for GPUs cannot be loaded ({reason}): run `pip install nvidia-cuda-runtime`", "runtime"
        )
    if not tvm_function("GetDeviceAttr")(TVM_GPU, 0, TVM_EXISTS):
        raise Refused(f"the model is for an NVIDIA GPU, and {gpus()[1] or 'CUDA finds none'}", "gpu")
    found = str(tvm_function("GetDeviceAttr")(TVM_GPU, 0, TVM_COMPUTE))
    if not runs_on(compute, found):
        raise Refused(f"the model's kernels are for {compute}, and the GPU has {found}: compile for its target", "gpu")


def _cuda_runtimes() -> list[Path]:
    """Return CUDA's runtime in packages of pip, the newest first."""
    package = importlib.util.find_spec("nvidia")
    folders = list(package.submodule_search_locations or []) if package is not None else []
    return sorted((path for folder in folders for path in Path(folder).rglob("libcudart.so.*")), reverse=True)


def runs_on(compute: str, capability: str) -> bool:
    """Return whether machine code of an architecture ("sm_90a") runs on a GPU of a compute capability ("9.0").

    It does on the same and on later ones of its generation; with a letter at its end, on the same only (CUDA C++
    programming guide, binary compatibility).
    """
    digits = re.sub("[^0-9]", "", compute)
    major, minor = (int(part) for part in capability.split(".")[:2])
    wanted = int(digits[:-1]), int(digits[-1])
    return (major, minor) == wanted if compute[-1].isalpha() else major == wanted[0] and minor >= wanted[1]
