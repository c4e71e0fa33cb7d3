"""ResNet-20 on CIFAR-10, calibrated without labels: accuracy and speed at the largest speed-up.

HWCOMP_CIFAR10=cifar10_jpeg.npz python benchmarks/cifar10.py
"""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

from common import ROOT, save

import hwcomp
from hwcomp.workload import load_workload


def main() -> None:
    """Compile with training images but no labels, and save accuracy and speed-up."""
    if "HWCOMP_CIFAR10" not in os.environ:
        print("cifar10: HWCOMP_CIFAR10 is not set; left out (see examples/cifar10/README.md)")
        return
    workload = load_workload(os.fspath(ROOT / "examples" / "cifar10" / "model.py"))
    with tempfile.TemporaryDirectory() as folder:
        result = hwcomp.compile(
            workload.model,
            workload.example_inputs,
            calibration=workload.calibration_data,
            evaluate=workload.eval_data,
            out=Path(folder) / "artifact",
            name="resnet20",
        )
    report = result.report
    row = SimpleNamespace(
        speedup=report.speedup,
        float_accuracy=report.baseline.accuracy,
        accuracy=report.compiled.accuracy,
        float_us=report.baseline.latency_us.median,
        compiled_us=report.compiled.latency_us.median,
        predicted_over_measured=report.compiled.predicted_latency_us / report.compiled.latency_us.median,
        output_distance=report.compiled.output_distance,
        quantised_sites=len(report.assignment),
    )
    print(f"resnet20 on CIFAR-10: {row.speedup:.2f}x, accuracy {row.float_accuracy:.2f} -> {row.accuracy:.2f}")
    save("cifar10", vars(row))


if __name__ == "__main__":
    main()
