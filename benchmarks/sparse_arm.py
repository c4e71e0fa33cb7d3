"""What does an ARM core execute? Instructions of dense, integer and sparse networks, counted under emulation.

    python benchmarks/sparse_arm.py [--models mobilenet_v2 resnet18] [--target arm_cortex_a72] [--density 0.1]

Cross-compiled here and run on one emulated core: ONNX Runtime dense, in 8-bit integers, and with sparse layers; TVM's
libraries dense and sparse. Every output is compared with ONNX Runtime's here, of the same weights; in integers it is
far off, for the ranges are those of one random input. Counts do not depend on the load of this machine; latencies are
simulated from them. Needs `hwcomp setup emulation`, `hwcomp setup tvm` and a compiler for the target (Debian:
gcc-aarch64-linux-gnu).
"""

import argparse
from typing import Any

from common import ROOT, save
from sparse_networks import pruned, sparse_everywhere
from torch import nn
from tvm_library import library

from hwcomp import target
from hwcomp.devices.emulated import EmulatedDevice
from hwcomp.evaluation import distance, reference_outputs
from hwcomp.quick_subject import quick_subject
from hwcomp.scheme import INT8
from hwcomp.subject import Subject
from hwcomp.target import Target
from hwcomp.tracing import trace
from hwcomp.workload import Workload, load_workload

MODELS = ("mobilenet_v2", "resnet18")
DENSE = "onnxruntime"


def networks(workload: Workload, arm: Target, density: float) -> dict[str, tuple[bytes, bytes]]:
    """Return name -> (network for the target, the float network here that has the same weights)."""
    emptier = pruned(workload.model, density)
    dense, sparse = _subject(workload, workload.model, arm), _subject(workload, emptier, arm)
    full, masked = dense.lower({}), sparse.lower({})
    return {
        DENSE: (full, full),
        "onnxruntime int8": (dense.lower(dense.space.everywhere(INT8.name)), full),
        "onnxruntime sparse": (sparse.lower(sparse_everywhere(sparse.space)), masked),
        "tvm": (library(workload, workload.model, arm, 1), full),
        "tvm sparse": (library(workload, emptier, arm, 1), masked),
    }


def _subject(workload: Workload, model: nn.Module, arm: Target) -> Subject:
    return quick_subject(trace(model, workload.example_inputs), arm)


def measure(device: EmulatedDevice, name: str, arm: Target, density: float) -> dict[str, Any]:
    """Return what each form of a network executes, and how far its outputs are from ONNX Runtime's here."""
    workload = load_workload(f"{ROOT}/examples/imagenet_shapes/model.py:{name}")
    program = trace(workload.model, workload.example_inputs)
    names = [node.name for node in program.nodes if node.op == "placeholder"]
    feed = {key: x.numpy() for key, x in zip(names, workload.example_inputs, strict=True)}
    rows: dict[str, Any] = {}
    for form, (network, reference) in networks(workload, arm, density).items():
        outputs = device.run(network, feed, 1)
        counts = device.instruction_mix(network, feed)
        rows[form] = {
            "instructions": counts.total,
            "shares": counts.shares(),
            "simulated_ms": device.time_block(network, feed, 1)[0] / 1e3,
            "relative_error": distance(reference_outputs(reference, [workload.example_inputs]), [outputs]),
        }
        saved = rows[DENSE]["instructions"] / counts.total
        share = counts.shares()["vector multiply-add, float"]
        print(
            f"{name}, {form}: {counts.total / 1e6:.1f} M instructions ({saved:.2f}x fewer, {share:.0%} float "
            f"multiply-adds), error {rows[form]['relative_error']:.1e}",
            flush=True,
        )
    return rows


def main() -> None:
    """Count, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--target", default="arm_cortex_a72")
    parser.add_argument("--density", type=float, default=0.1)
    options = parser.parse_args()
    arm = target.load(options.target)
    with EmulatedDevice(arm) as device:
        found = {name: measure(device, name, arm, options.density) for name in options.models}
    print(save("sparse_arm", {"settings": vars(options), "networks": found}))


if __name__ == "__main__":
    main()
