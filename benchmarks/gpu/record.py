"""Results as files: one JSON for each case, with the facts of the machine, written whole or not at all."""

import datetime as dt
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from cases import ROOT, bundle

PACKAGE = "hwcomp_agent"
VERSIONS = ("torch", "triton", "numpy", "onnxruntime", "accelerate", "apache-tvm-ffi")


@cache
def agent(module: str) -> ModuleType:
    """Return a module of hwcomp's agent, which needs nothing of hwcomp: it asks the driver, and knows TVM's runtime."""
    if PACKAGE not in sys.modules:
        path = ROOT / "hwcomp" / "devices" / "agent" / "__init__.py"
        spec = importlib.util.spec_from_file_location(PACKAGE, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACKAGE])
    return importlib.import_module(f"{PACKAGE}.{module}")


def gpus() -> list[dict[str, Any]]:
    """Return the GPUs: names, driver, clocks, temperature, and why they are slowed down."""
    found: list[dict[str, Any]] = agent("gpus").gpus()[0]
    return found


def machine() -> dict[str, Any]:
    """Return what a number depends on, besides the GPU's state."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "tvm": bundle()["tvm"],
        "versions": {name: _version(name) for name in VERSIONS},
        "bundle": {"commit": bundle()["commit"], "date": bundle()["date"]},
    }


def now() -> str:
    """Return the time as text, in UTC."""
    return dt.datetime.now(tz=dt.timezone.utc).isoformat(timespec="seconds")


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a result so that it is there whole or not at all."""
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """Return a result, None if there is none."""
    return json.loads(path.read_text()) if path.is_file() else None


def failure(step: str, *, rehearse: bool, error: str) -> dict[str, Any]:
    """Return the result of a case that did not come to an end."""
    return {"rehearsal": rehearse, "step": step, "ok": False, "date": now(), "machine": machine(), "error": error}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
