"""Compile six networks for this machine and time the results against float and against `quantize_static`.

    python benchmarks/compile_models.py [NAME ...]

For each network: `hwcomp compile` in a process of its own with an empty cache (cold) and again (warm); then the float
network, the artifact and what ONNX Runtime's `quantize_static` makes with its defaults are timed in interleaved
rounds. Ratios are medians of paired rounds; nothing else should run on the machine.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, hwcomp_command, save
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from hwcomp.benching import random_feed
from hwcomp.devices import open_device
from hwcomp.devices.compare import compare
from hwcomp.lowering.onnx_export import export_plain
from hwcomp.subject import to_bytes
from hwcomp.workload import load_workload

NAMES = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "vit_tiny")
ASKED = {
    "resnet18": 2.7, "resnet50": 2.6, "mobilenet_v2": 1.9, "mobilenet_v3_large": 1.2, "efficientnet_b0": 1.15,
    "vit_tiny": 1.3,
}  # fmt: skip
ROUNDS = 10
CALIBRATION = 64


class Reader(CalibrationDataReader):
    """Feeds the example's calibration data to ONNX Runtime's quantiser."""

    def __init__(self, name: str, data: list[Any]) -> None:
        self.batches = iter([{name: x.numpy()} for x in data])

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input, or None."""
        return next(self.batches, None)


def compile_once(name: str, out: Path, cache: Path) -> tuple[dict[str, Any], float]:
    """Return the manifest that the command prints, and the seconds it took."""
    model = ROOT / "examples" / "imagenet_shapes" / f"model.py:{name}"
    command = [hwcomp_command(), "compile", os.fspath(model), "--target", "host", "--json", "--out", os.fspath(out)]
    start = time.monotonic()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HWCOMP_CACHE": os.fspath(cache), "HWCOMP_STORE": os.fspath(cache / "store.sqlite")},
    )
    return json.loads(done.stdout), time.monotonic() - start


def static_quantised(name: str, folder: Path) -> tuple[Path, Path]:
    """Return (float file, file that `quantize_static` makes of it with its defaults, after its own preparation)."""
    workload = load_workload(os.fspath(ROOT / "examples" / "imagenet_shapes" / f"model.py:{name}"))
    plain, prepared, static = folder / "plain.onnx", folder / "prepared.onnx", folder / "static.onnx"
    plain.write_bytes(to_bytes(export_plain(workload.model, workload.example_inputs, ["x"])))
    quant_pre_process(os.fspath(plain), os.fspath(prepared), skip_symbolic_shape=True)
    assert workload.calibration_data is not None
    data = list(workload.calibration_data() or [])[:CALIBRATION]
    quantize_static(os.fspath(prepared), os.fspath(static), Reader("x", data))
    return plain, static


def renamed_input(path: Path, name: str) -> bytes:
    """Return a model with its input named as asked, so that all are fed alike."""
    import onnx

    model = onnx.load(path)
    old = model.graph.input[0].name
    model.graph.input[0].name = name
    for node in model.graph.node:
        node.input[:] = [name if value == old else value for value in node.input]
    return model.SerializeToString()


def measure(name: str) -> dict[str, Any]:
    """Return everything that is reported of one network."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        manifest, cold_s = compile_once(name, folder / "artifact", folder / "cache")
        _, warm_s = compile_once(name, folder / "again", folder / "cache")
        plain, static = static_quantised(name, folder)
        artifact = folder / "artifact" / "model.onnx"
        models = {
            "float": renamed_input(plain, "x"), "hwcomp": renamed_input(artifact, "x"), "static": static.read_bytes(),
        }  # fmt: skip
        timed = compare(open_device("local"), models, random_feed(static), manifest["target"]["threads"], ROUNDS)
        predicted, measured = manifest["compiled"]["predicted_latency_us"], manifest["compiled"]["latency_us"]["median"]
        over_static = np.array(timed.ratios("hwcomp")) / np.array(timed.ratios("static"))
        return {
            "asked": ASKED[name],
            "speedup": timed.speedup("hwcomp"),
            "speedup_rounds": timed.ratios("hwcomp"),
            "static_speedup": timed.speedup("static"),
            "over_static": float(np.median(over_static)),
            "float_us": timed.measurement("float").median_us,
            "hwcomp_us": timed.measurement("hwcomp").median_us,
            "predicted_over_measured": predicted / measured,
            "stated_speedup": manifest["speedup"],
            "output_distance": manifest["compiled"]["output_distance"],
            "quantised_sites": len(manifest["assignment"]),
            "sites": len(manifest["sites"]),
            "threads": manifest["target"]["threads"],
            "cold_s": cold_s,
            "warm_s": warm_s,
        }


def main() -> None:
    """Measure the networks that are named, or all."""
    names = sys.argv[1:] or NAMES
    results = {}
    for name in names:
        results[name] = measure(name)
        row = results[name]
        print(
            f"{name:20} {row['speedup']:.2f}x float (asked {row['asked']}x), {row['over_static']:.2f}x static, "
            f"predicted/measured {row['predicted_over_measured']:.3f}, cold {row['cold_s']:.0f} s, "
            f"warm {row['warm_s']:.0f} s",
            flush=True,
        )
        if not sys.argv[1:]:
            save("compile_models", {"rounds": ROUNDS, "models": results})


if __name__ == "__main__":
    main()
