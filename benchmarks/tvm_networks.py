"""How fast are libraries of TVM against ONNX Runtime? Dense float networks, and those with sparse weights.

    python benchmarks/tvm_networks.py [--models resnet18 resnet50 ...] [--threads 1 2] [--rounds 8] [--density 0.1]

The same network in both runtimes takes turns with itself; ratios are taken within rounds. Sparse are all convolutions
but the first one and those by channel, in blocks of 4x1, see `sparse_networks`.
"""

import argparse
from typing import Any

from common import ROOT, save
from sparse_networks import ASKED as HAVE_SPARSE
from sparse_networks import pruned, sparse_everywhere
from tvm_library import library

from hwcomp import target
from hwcomp.devices import open_device
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.quick_subject import quick_subject
from hwcomp.tracing import trace
from hwcomp.workload import load_workload

MODELS = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "vit_tiny")
ASKED = 1.5
"""Times of ONNX Runtime's latency that a dense library may take."""

RUNTIME, TVM = "onnxruntime", "tvm"
SPARSE = "sparse "


def measure(device: Device, name: str, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the latencies of one network, and how many times ONNX Runtime's each takes."""
    workload, host = load_workload(f"{ROOT}/examples/imagenet_shapes/model.py:{name}"), target.load("host")
    dense = quick_subject(trace(workload.model, workload.example_inputs), host)
    models = {RUNTIME: dense.lower({}), TVM: library(workload, workload.model, host, threads)}
    if name in HAVE_SPARSE:
        emptier = pruned(workload.model, options.density)
        subject = quick_subject(trace(emptier, workload.example_inputs), host)
        models[SPARSE + RUNTIME] = subject.lower(sparse_everywhere(subject.space))
        models[SPARSE + TVM] = library(workload, emptier, host, threads)
    timed = compare(device, models, dense.feed, threads, options.rounds)
    rows = {
        model: {
            "ms": timed.measurement(model).median_us / 1e3,
            "times_of_onnxruntime": 1 / timed.speedup(model),
            "rounds": timed.ratios(model),
        }
        for model in models
    }
    line = ", ".join(f"{m} {one['ms']:.2f} ms ({one['times_of_onnxruntime']:.2f})" for m, one in rows.items())
    print(f"{name}, {threads} threads: {line}", flush=True)
    return rows


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--density", type=float, default=0.1)
    options = parser.parse_args()
    with open_device("local") as device:
        found = {
            name: {f"threads {threads}": measure(device, name, threads, options) for threads in options.threads}
            for name in options.models
        }
    worst = max(one[TVM]["times_of_onnxruntime"] for rows in found.values() for one in rows.values())
    print(f"a dense library takes at most {worst:.2f} times as long as ONNX Runtime, asked {ASKED}")
    print(save("tvm_networks", {"settings": vars(options), "networks": found}))


if __name__ == "__main__":
    main()
