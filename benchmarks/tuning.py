"""How much faster do libraries of TVM become by `hwcomp tune`?

    python benchmarks/tuning.py [--models mobilenet_v2 ...] [--threads 1 2] [--rounds 8] [--minutes 5]

Each network is tuned into a database of its own, for so many minutes at most; it is compiled with and without what was
found, and both libraries take turns with ONNX Runtime. Ratios are taken within rounds.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from common import ROOT, save
from tvm_library import library

from hwcomp import target
from hwcomp.devices import LOCAL, open_device
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.quick_subject import quick_subject
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.tracing import trace
from hwcomp.tune_command import tune
from hwcomp.tuning.lookup import tuned_for
from hwcomp.workload import load_workload

MODELS = ("mobilenet_v2", "mobilenet_v3_large", "vit_tiny", "efficientnet_b0")
RUNTIME, PLAIN, TUNED = "onnxruntime", "tvm", "tvm, tuned"


def measure(device: Device, name: str, threads: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Tune a network, and return the latencies and ratios of its libraries."""
    model, database = f"{ROOT}/examples/imagenet_shapes/model.py:{name}", folder / f"{name}-{threads}.jsonl"
    tune(model, target="host", threads=threads, minutes=options.minutes, device=LOCAL, database=database)
    workload, host = load_workload(model), target.load("host")
    found = tuned_for(vectors_of(host.isa), threads, database, is_here=True)
    subject = quick_subject(trace(workload.model, workload.example_inputs), host)
    models = {RUNTIME: subject.lower({}), PLAIN: library(workload, workload.model, host, threads)}
    models[TUNED] = library(workload, workload.model, host, threads, found.plan_of)
    timed = compare(device, models, subject.feed, threads, options.rounds)
    rounds = [tuned / plain for tuned, plain in zip(timed.ratios(TUNED), timed.ratios(PLAIN), strict=True)]
    gain = sorted(rounds)[len(rounds) // 2]
    ms = {one: timed.measurement(one).median_us / 1e3 for one in models}
    shown = ", ".join(f"{one} {value:.2f} ms" for one, value in ms.items())
    print(f"{name}, {threads} threads: {shown}; {found.found} of {found.asked} functions, {gain:.3f}x", flush=True)
    return {"ms": ms, "functions": found.asked, "tuned": found.found, "gain": gain, "rounds": rounds}


def main() -> None:
    """Tune, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    with open_device(LOCAL) as device, tempfile.TemporaryDirectory() as folder:
        found = {
            name: {f"threads {count}": measure(device, name, count, options, Path(folder)) for count in options.threads}
            for name in options.models
        }
    print(save("tuning", {"settings": vars(options), "networks": found}))


if __name__ == "__main__":
    main()
