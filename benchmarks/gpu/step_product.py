"""The commands that a user would run on this GPU, with ONNX Runtime's build for GPUs: profile, and compile.

What they print as JSON is the result. The latency table that the profile leaves goes to ``tables/`` among the results.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
from case import Setting
from cases import ROOT

CUDA = "CUDAExecutionProvider"
TARGET = "nvidia_h200"
TABLE_MINUTES, REHEARSED_MINUTES = 4.0, 1.5
COMMAND = "import sys; sys.path.append({brought!r}); from hwcomp.cli import entry; entry()"
"""hwcomp, with what the machine lacks from the bundle."""

MODEL = """
import sys

sys.path[:0] = [{folder!r}]
from networks import example_input, with_weights

example_inputs = (example_input({network!r}, {batch}),)


def model():
    return with_weights({network!r}, {weights!r})


def calibration_data():
    return [example_input({network!r}, {batch}, seed) for seed in range(1, 9)]
"""


def run(setting: Setting, kind: str, network: str = "", batch: int = 1) -> dict[str, Any]:
    """Return what a command found.

    Args:
        setting: where; a rehearsal takes this machine's processor for the target.
        kind: "table" for a general profile, "profile" and "compile" for those of a network.
        network: of the bundle.
        batch: images in its input.

    Raises:
        AssertionError: ONNX Runtime has no provider for GPUs here, or the command failed; the sentence is its own.
    """
    if not setting.rehearse and CUDA not in onnxruntime.get_available_providers():
        raise AssertionError(
            f"ONNX Runtime {onnxruntime.__version__} here has no {CUDA}; `pip uninstall -y onnxruntime; pip install "
            "'onnxruntime-gpu[cuda,cudnn]'` bring it."
        )
    target = ["--target", "host" if setting.rehearse else TARGET]
    store = setting.out / "logs" / "product.sqlite"
    if kind == "table":
        return _table(setting, target, store)
    model = setting.out / "logs" / f"product_{network}_b{batch}.py"
    weights = str(ROOT / "weights" / f"{network}.safetensors")
    model.write_text(MODEL.format(folder=str(Path(__file__).parent), network=network, batch=batch, weights=weights))
    if kind == "profile":
        return _said(setting, "profile", str(model), *target, "--json", "--store", str(store))
    folder = setting.out / "logs" / f"product_{network}_b{batch}"
    where = [] if setting.rehearse else ["--device", "local"]
    options = ["--runtime", "onnxruntime", "--json", "--store", str(store), "--out", str(folder), "--force"]
    found = _said(setting, "compile", str(model), *target, *where, *options)
    shutil.rmtree(folder)
    return {name: found[name] for name in ("runtime", "baseline", "compiled", "speedup", "versions", "budget")}


def _table(setting: Setting, target: list[str], store: Path) -> dict[str, Any]:
    """Profile random networks, and keep the table."""
    minutes = REHEARSED_MINUTES if setting.rehearse else TABLE_MINUTES
    found = _said(setting, "profile", *target, "--json", "--minutes", str(minutes), "--store", str(store))
    tables = setting.out / "tables"
    tables.mkdir(exist_ok=True)
    _run(setting, "profile", "export", str(tables / f"{target[1]}.jsonl"), "--store", str(store))
    for model in store.with_name(f"{store.stem}-models").glob("*.json"):
        shutil.copy(model, tables / f"{target[1]}.model.json")
    return found


def _said(setting: Setting, *arguments: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(_run(setting, *arguments))
    return said


def _run(setting: Setting, *arguments: str) -> str:
    """Return what a command prints."""
    command = [sys.executable, "-c", COMMAND.format(brought=str(ROOT / "python")), *arguments]
    cache = str(setting.out / "logs" / "cache")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HWCOMP_CACHE": cache, "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode not in (0, 3):  # 3: a budget that is missed leaves its report all the same
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise AssertionError(f"hwcomp {arguments[0]} ended with code {done.returncode}: {lines[-1]}")
    return done.stdout
