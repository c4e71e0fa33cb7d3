"""What computes: ONNX Runtime's providers, whether one can work here, and what is wrong where it fails."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import re
from collections.abc import Iterator

from .gpus import gpus
from .wire import Refused

CPU, CUDA, TENSORRT = "cpu", "cuda", "tensorrt"
PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider", TENSORRT: "TensorrtExecutionProvider"}
"""What a request may name -> what ONNX Runtime calls it."""

OUT_OF_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|STATUS_ALLOC_FAILED|MemoryAllocation|not enough memory", re.IGNORECASE
)
OLD_DRIVER = re.compile(r"driver version is insufficient|cudaErrorInsufficientDriver", re.IGNORECASE)


def check_provider(provider: str) -> None:
    """Refuse a provider that cannot work here: no GPU, none in this build of ONNX Runtime, or too old a driver."""
    import onnxruntime as ort  # noqa: PLC0415 - heavy; `hello` tells where it is missing

    found, problem = gpus()
    if not found:
        raise Refused(f"{problem}: {PROVIDERS[provider]} has nothing to run on", "gpu")
    if PROVIDERS[provider] not in ort.get_available_providers():
        raise Refused(
            f"ONNX Runtime {ort.__version__} there has no {PROVIDERS[provider]}; {_gpu_package()} there "
            "(hwcomp[gpu], see docs/devices.md)",
            "gpu",
        )
    needed, able = _cuda_of_runtime(), found[0]["cuda"]
    if needed and able and int(able.split(".")[0]) < int(needed.split(".")[0]):
        raise Refused(
            f"driver {found[0]['driver']} there is for CUDA {able} at most, ONNX Runtime {ort.__version__} needs CUDA "
            f"{needed}: update the driver, or install an onnxruntime-gpu for CUDA {able.split('.')[0]}",
            "gpu",
        )
    if provider == TENSORRT:
        with contextlib.suppress(ImportError):  # its libraries lie in its package, where nothing looks for them
            importlib.import_module("tensorrt")
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # libraries of CUDA that pip installed are not found otherwise
            ort.preload_dlls()


def _gpu_package() -> str:
    """Return how to get a build of ONNX Runtime for GPUs: it cannot lie beside the one for processors."""
    here = set()
    for package in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            here.add(importlib.metadata.version(package) and package)
    cause = "it lies in one folder with onnxruntime-gpu, over whose files it was written; " if len(here) == 2 else ""
    return f"{cause}run `pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu`"


def _cuda_of_runtime() -> str:
    """Return the version of CUDA that ONNX Runtime was built with; empty if it does not tell."""
    try:
        from onnxruntime.capi import build_and_package_info as built  # noqa: PLC0415 - likewise
    except ImportError:
        return ""
    return str(getattr(built, "cuda_version", ""))


def gpu_trouble(error: BaseException) -> Refused | None:
    """Return the refusal for an error of CUDA that says what is wrong with the device, None for any other."""
    said = str(error)
    if OUT_OF_MEMORY.search(said):
        return Refused("the model and its data do not fit in the GPU's memory", "memory")
    if OLD_DRIVER.search(said):
        return Refused("the GPU's driver there is older than the runtime needs: update it", "gpu")
    return None


@contextlib.contextmanager
def gpu_troubles() -> Iterator[None]:
    """Tell what an error of CUDA means, where it is the device's and not the model's."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:  # the runtimes raise classes of their own
        trouble = gpu_trouble(error)
        if trouble is None:
            raise
        raise trouble from error
