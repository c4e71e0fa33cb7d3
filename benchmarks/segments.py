"""What could a partition of float networks between ONNX Runtime and TVM gain? An upper bound, by measurement.

    python benchmarks/segments.py [--models mobilenet_v2 ...] [--threads 1] [--rounds 4] [--pieces 8]

A network is cut where one tensor alone goes on. Every piece is timed in TVM, and every stretch of pieces in ONNX
Runtime, which lays out memory for a whole stretch at once: those that begin alike take turns. Each time is that of a
run, so it has what starting one costs; handing a tensor over is taken to cost nothing more. The best of all partitions
is then exact. A stretch that is timed alone finds its weights in the caches, so that cuts alone seem to gain; the gain
by TVM is that over the best partition with ONNX Runtime in all parts.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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

MODELS = ("resnet18", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0")
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


def pieces_of(network: Program, most: int) -> list[tuple[nn.Module, torch.Tensor]]:
    """Return the network in at most so many pieces, each with its input."""
    behind = list(cuts(network))
    kept = set(behind[:: max(1, -(-(len(behind) + 1) // most))])
    number, place = {}, 0
    for node in network.nodes:
        number[node.name] = place
        place += node in kept
    split, found = split_module(network.module, network.module, lambda node: number[node.name]), []
    (x,) = network.example_inputs
    for _, piece in split.named_children():
        found.append((piece, x))
        with torch.no_grad():
            x = piece(x)
    return found


def from_piece(
    device: Device, workload: Workload, pieces: Sequence[tuple[nn.Module, torch.Tensor]], options: argparse.Namespace
) -> dict[str, float]:
    """Return the microseconds of the first piece in TVM, and of stretches that begin with it in ONNX Runtime."""
    host, x = target.load("host"), pieces[0][1]
    models: dict[str, bytes] = {}
    for count in range(1, len(pieces) + 1):
        stretch = nn.Sequential(*(piece for piece, _ in pieces[:count]))
        subject = quick_subject(trace(stretch, (x,)), host)
        models[str(count)] = subject.lower({})
    alone = replace(workload, model=nn.Sequential(pieces[0][0]), example_inputs=(x,))
    models[TVM] = library(alone, alone.model, host, options.threads)
    timed = compare(device, models, {next(iter(subject.feed)): x.numpy()}, options.threads, options.rounds)
    return {name: timed.measurement(name).median_us for name in models}


def best_partition(times_us: Sequence[Mapping[str, float]], *, with_tvm: bool) -> tuple[float, list[str]]:
    """Return the least sum over all partitions, and its parts in order: pieces in ONNX Runtime together, or in TVM."""
    best: list[tuple[float, list[str]]] = [(0.0, [])]
    for end in range(1, len(times_us) + 1):
        ways = [(best[end - 1][0] + times_us[end - 1][TVM], [*best[end - 1][1], TVM])] if with_tvm else []
        for begin in range(end):
            us, parts = best[begin]
            ways.append((us + times_us[begin][str(end - begin)], [*parts, f"{RUNTIME} x {end - begin}"]))
        best.append(min(ways))
    return best[-1]


def measure(device: Device, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what stretches and pieces of a network take, and the best partition of it."""
    workload = load_workload(f"{ROOT}/examples/imagenet_shapes/model.py:{name}")
    pieces = pieces_of(trace(workload.model, workload.example_inputs), options.pieces)
    times_us = [from_piece(device, workload, pieces[begin:], options) for begin in range(len(pieces))]
    whole_us, tvm_us = times_us[0][str(len(pieces))], sum(one[TVM] for one in times_us)
    (cut_us, _), (best_us, parts) = (best_partition(times_us, with_tvm=with_tvm) for with_tvm in (False, True))
    print(
        f"{name}: {len(pieces)} pieces; us of ONNX Runtime {whole_us:.0f}, cut where that is best {cut_us:.0f}, TVM "
        f"{tvm_us:.0f}; best partition {best_us:.0f} ({', '.join(parts)}): gains {cut_us / best_us:.3f}x by TVM",
        flush=True,
    )
    return {
        "whole_us": whole_us,
        "cut_us": cut_us,
        "tvm_us": tvm_us,
        "best_us": best_us,
        "parts": parts,
        "gain_by_tvm": cut_us / best_us,
        "times_us": times_us,
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--pieces", type=int, default=8, help="of each network, at most")
    options = parser.parse_args()
    with open_device("local") as device:
        found = {name: measure(device, name, options) for name in options.models}
    print(save("segments", {"settings": vars(options), "networks": found}))


if __name__ == "__main__":
    main()
