"""What a measurement depends on: the machine and the versions of what ran on it."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from hwcomp.target import cpu_model, detect_host, usable_cores

MISSING = "not installed"


@cache
def environment() -> dict[str, str]:
    """Return the machine and the versions that decide speed and results."""
    packages = {name: _version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")}
    if packages["onnxruntime"] == MISSING:  # the build for GPUs has another name
        packages["onnxruntime"] = _version("onnxruntime-gpu")
    machine = {
        "cpu": cpu_model(),
        "cores": str(usable_cores()),
        "isa": " ".join(detect_host().isa),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    return {"hwcomp": _version("hwcomp")} | packages | machine


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING
