"""How fast are whole networks with sparse weights? ResNet-50 and MobileNetV2 of random weights, against float and int8.

    python benchmarks/sparse_networks.py [--density 0.1] [--threads 1 2] [--rounds 6]

All convolutions but the first one lose weights in blocks of 4x1, those by channel excepted. ONNX Runtime runs all of
it: dense float, dense float with the zeros left in ("masked": what a mask alone gives), 8-bit integers everywhere,
and sparse where it can be. They take turns; ratios are taken within rounds.
"""

import argparse
import copy
from typing import Any

import torch
from common import ROOT, save
from torch import nn

from hwcomp import target
from hwcomp.devices import open_device
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.quick_subject import quick_subject
from hwcomp.scheme import INT8, Sparse, is_sparse
from hwcomp.space import SearchSpace
from hwcomp.sparsity import pattern_mask
from hwcomp.subject import Subject
from hwcomp.tracing import trace
from hwcomp.workload import load_workload

MODELS = ("resnet50", "mobilenet_v2", "resnet18")
ASKED = {"resnet50": 2.5, "mobilenet_v2": 1.8}
DENSE, MASKED, INTEGER, SPARSE = "dense", "masked", "int8", "sparse"


def pruned(model: nn.Module, density: float) -> nn.Module:
    """Return a copy whose convolutions, but the first and those by channel, keep so many weights in blocks of 4x1."""
    model = copy.deepcopy(model)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for layer in layers[1:]:
            if layer.groups == 1:
                layer.weight *= pattern_mask(layer.weight, Sparse(rows=4, density=density))
    return model


def sparse_everywhere(space: SearchSpace) -> dict[str, str]:
    """Return the assignment with each site's sparse scheme, where it has one."""
    return space.everywhere(*dict.fromkeys(c for site in space.sites for c in site.candidates if is_sparse(c)))


def models_of(name: str, density: float) -> tuple[dict[str, bytes], Subject]:
    """Return the networks to time, and the sparse one as something to measure."""
    workload, host = load_workload(f"{ROOT}/examples/imagenet_shapes/model.py:{name}"), target.load("host")
    dense = quick_subject(trace(workload.model, workload.example_inputs), host)
    subject = quick_subject(trace(pruned(workload.model, density), workload.example_inputs), host)
    models = {
        DENSE: dense.lower(dense.space.everywhere()),
        MASKED: subject.lower(subject.space.everywhere()),
        INTEGER: dense.lower(dense.space.everywhere(INT8.name)),
        SPARSE: subject.lower(sparse_everywhere(subject.space)),
    }
    return models, subject


def measure(device: Device, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the latencies and ratios of one network for each number of threads."""
    models, subject = models_of(name, options.density)
    found: dict[str, Any] = {}
    for threads in options.threads:
        timed = compare(device, models, subject.feed, threads, options.rounds)
        found[f"threads {threads}"] = {
            model: {
                "ms": timed.measurement(model).median_us / 1e3,
                "speedup": timed.speedup(model),
                "rounds": timed.ratios(model),
            }
            for model in models
        }
        line = ", ".join(
            f"{m} {one['ms']:.2f} ms {one['speedup']:.2f}x" for m, one in found[f"threads {threads}"].items()
        )
        print(f"{name}, {threads} threads: {line}", flush=True)
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    with open_device("local") as device:
        found = {name: measure(device, name, options) for name in options.models}
    for name, asked in ASKED.items():
        if name in found:
            least = min(one[SPARSE]["speedup"] for one in found[name].values())
            print(f"{name}: sparse at least {least:.2f}x of dense float, asked {asked}x")
    print(save("sparse_networks", {"settings": vars(options), "networks": found}))


if __name__ == "__main__":
    main()
