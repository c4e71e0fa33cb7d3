"""What could a partition of float networks between ONNX Runtime and TVM gain? An upper bound, by measurement.

    python benchmarks/segments.py [--models mobilenet_v2 ...] [--threads 1] [--rounds 6]

A network is cut wherever one tensor alone goes on. Every segment runs in both runtimes, in turn; the bound takes the
faster one of each, as if handing a tensor over cost nothing. What it does cost at least is the smallest run of a
session, which is timed, too: every stretch of segments in ONNX Runtime is a run of a session of its own.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from common import ROOT, save
from torch import fx, nn
from torch.fx.passes.split_module import split_module
from tvm_library import library

from hwcomp import target
from hwcomp.devices import open_device
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.program import Program
from hwcomp.quick_subject import quick_subject
from hwcomp.tracing import trace
from hwcomp.workload import Workload, load_workload

MODELS = ("resnet18", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "vit_tiny")
RUNTIME, TVM = "onnxruntime", "tvm"
JOINED = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Dropout, nn.Identity)
"""Modules that both runtimes fuse with what is before them; no segment begins with one."""


def cuts(network: Program) -> Iterator[fx.Node]:
    """Yield the nodes behind which nothing but their own output is needed."""
    order = {node: place for place, node in enumerate(network.nodes)}
    last_use = {node: max((order[user] for user in node.users), default=order[node]) for node in network.nodes}
    reach = 0
    for node in network.nodes[:-2]:
        before, reach = reach, max(reach, last_use[node])
        readers = [network.module.get_submodule(str(u.target)) for u in node.users if u.op == "call_module"]
        is_alone = node.op not in {"placeholder", "get_attr"} and before <= order[node]
        is_end = len(readers) == len(node.users) and not any(isinstance(reader, JOINED) for reader in readers)
        if is_alone and is_end:
            yield node


def segments(network: Program) -> Iterator[tuple[nn.Module, torch.Tensor]]:
    """Yield the network in pieces, each with its input."""
    behind, number = set(cuts(network)), {}
    place = 0
    for node in network.nodes:
        number[node.name] = place
        place += node in behind
    pieces = split_module(network.module, network.module, lambda node: number[node.name])
    (x,) = network.example_inputs
    for _, piece in pieces.named_children():
        yield piece, x
        with torch.no_grad():
            x = piece(x)


def timed(device: Device, workload: Workload, options: argparse.Namespace) -> dict[str, float]:
    """Return the microseconds of a network in both runtimes, in turn."""
    host = target.load("host")
    subject = quick_subject(trace(workload.model, workload.example_inputs), host)
    models = {RUNTIME: subject.lower({}), TVM: library(workload, workload.model, host, options.threads)}
    measured = compare(device, models, subject.feed, options.threads, options.rounds)
    return {name: measured.measurement(name).median_us for name in models}


def measure(device: Device, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what the segments of a network take, and what the best of both would."""
    workload = load_workload(f"{ROOT}/examples/imagenet_shapes/model.py:{name}")
    whole = timed(device, workload, options)
    pieces = [
        timed(device, replace(workload, model=piece, example_inputs=(x,)), options)
        for piece, x in segments(trace(workload.model, workload.example_inputs))
    ]
    together = {runtime: sum(piece[runtime] for piece in pieces) for runtime in (RUNTIME, TVM)}
    best_us = sum(min(piece.values()) for piece in pieces)
    won = [piece[TVM] < piece[RUNTIME] for piece in pieces]
    borders = sum(a != b for a, b in pairwise(won))
    bound = together[RUNTIME] / best_us
    print(
        f"{name}: {len(pieces)} segments, {sum(won)} faster in TVM, {borders} borders; us whole and in segments: ONNX "
        f"Runtime {whole[RUNTIME]:.0f}, {together[RUNTIME]:.0f}; TVM {whole[TVM]:.0f}, {together[TVM]:.0f}; "
        f"best of each {best_us:.0f}, at most {bound:.3f}x",
        flush=True,
    )
    return {"whole_us": whole, "segments_us": pieces, "best_us": best_us, "borders": borders, "bound": bound}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    with open_device("local") as device:
        workload = load_workload(f"{ROOT}/examples/imagenet_shapes/model.py:{options.models[0]}")
        least = replace(workload, model=nn.Sequential(nn.Linear(1, 1), nn.ReLU()), example_inputs=(torch.zeros(1, 1),))
        border = timed(device, least, options)
        print(f"smallest run: ONNX Runtime {border[RUNTIME]:.1f} us, TVM {border[TVM]:.1f} us")
        found = {name: measure(device, name, options) for name in options.models}
    print(save("segments", {"settings": vars(options), "smallest_us": border, "networks": found}))


if __name__ == "__main__":
    main()
