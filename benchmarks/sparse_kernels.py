"""How fast are sparse convolutions? Every shape of ResNet-50 and MobileNetV2 against ONNX Runtime's own kernels.

    python benchmarks/sparse_kernels.py [--threads 1 2] [--rounds 5]

Each convolution is a model of its own; its time is that of its node in ONNX Runtime's profile, so changes of layout or
number format around it do not count, for nobody. Dense float, 8-bit integers and sparse ones take turns, round by
round. Saved are medians, the ratios to both dense kernels within rounds, the share of the peak that the products that
are left reach, and the density below which blocks of 4x1 win. A profile makes every node a few microseconds longer,
which counts most where little is computed; "net" ratios are without what a node takes that computes one number.
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import torch
from common import save
from rich.progress import track
from torch import nn

from hwcomp import target
from hwcomp.devices import open_device
from hwcomp.devices.base import Device
from hwcomp.passes.insert_sparse_choices import InsertSparseChoices
from hwcomp.quick_subject import quick_subject
from hwcomp.scheme import INT8
from hwcomp.subject import Subject
from hwcomp.tracing import trace

DENSITIES = (0.5, 0.3, 0.2, 0.1, 0.05)
SINGLE, BLOCKS = "sparse", "sparse4x1"
ASKED = {f"{SINGLE}:0.1": 2.3, f"{BLOCKS}:0.1": 4.2, f"{BLOCKS}:0.05": 7.5}
"""Least geometric mean over all 1x1 shapes, against dense float."""


@dataclass(frozen=True)
class Shape:
    """A convolution: its channels, the side of its input in pixels, its window and stride."""

    inputs: int
    outputs: int
    side: int
    kernel: int = 1
    stride: int = 1

    def __str__(self) -> str:
        stride = f" s{self.stride}" if self.stride > 1 else ""
        return f"{self.outputs}x{self.inputs} {self.kernel}x{self.kernel}{stride} @{self.side}"

    @property
    def flop(self) -> int:
        """Operations of the dense convolution."""
        return 2 * self.inputs * self.outputs * self.kernel**2 * math.ceil(self.side / self.stride) ** 2

    def subject(self) -> Subject:
        """Return it as something to measure."""
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(self.inputs, self.outputs, self.kernel, self.stride, self.kernel // 2))
        network = trace(net, (torch.randn(1, self.inputs, self.side, self.side),))
        sparse = InsertSparseChoices(densities=DENSITIES, blocks=((4, 1), (1, 1)))
        return quick_subject(network, target.load("host"), [sparse])


RESNET50 = [
    Shape(64, 64, 56), Shape(64, 256, 56), Shape(256, 64, 56), Shape(256, 128, 56), Shape(256, 512, 56, 1, 2),
    Shape(128, 512, 28), Shape(512, 128, 28), Shape(512, 256, 28), Shape(512, 1024, 28, 1, 2), Shape(256, 1024, 14),
    Shape(1024, 256, 14), Shape(1024, 512, 14), Shape(1024, 2048, 14, 1, 2), Shape(512, 2048, 7), Shape(2048, 512, 7),
]  # fmt: skip
MOBILENET_V2 = [
    Shape(32, 16, 112), Shape(16, 96, 112), Shape(96, 24, 56), Shape(24, 144, 56), Shape(144, 24, 56),
    Shape(144, 32, 28), Shape(32, 192, 28), Shape(192, 32, 28), Shape(192, 64, 14), Shape(64, 384, 14),
    Shape(384, 64, 14), Shape(384, 96, 14), Shape(96, 576, 14), Shape(576, 96, 14), Shape(576, 160, 7),
    Shape(160, 960, 7), Shape(960, 160, 7), Shape(960, 320, 7), Shape(320, 1280, 7),
]  # fmt: skip
RESNET50_3X3 = [
    Shape(64, 64, 56, 3), Shape(128, 128, 56, 3, 2), Shape(128, 128, 28, 3), Shape(256, 256, 28, 3, 2),
    Shape(256, 256, 14, 3), Shape(512, 512, 14, 3, 2), Shape(512, 512, 7, 3),
]  # fmt: skip
GROUPS = {"resnet50 1x1": RESNET50, "mobilenet_v2 1x1": MOBILENET_V2, "resnet50 3x3": RESNET50_3X3}


def timed(device: Device, shape: Shape, threads: int, rounds: int) -> dict[str, list[float]]:
    """Return scheme -> microseconds of the convolution in each round."""
    subject = shape.subject()
    site = subject.space.free[0]
    models = {scheme: subject.lower({site.name: scheme}) for scheme in site.candidates}
    times: dict[str, list[float]] = {scheme: [] for scheme in models}
    estimate_us = max(10.0, shape.flop / 50e3 / threads)
    for index in range(rounds):
        for scheme in list(models)[:: 1 if index % 2 == 0 else -1]:
            found = device.profile(models[scheme], subject.feed, threads, estimate_us)
            times[scheme].append(sum(us for owner, us in found.items() if owner.kind == "site"))
    return times


def empty_us(device: Device, threads: int) -> float:
    """Return what a profile says of a node that computes one number."""
    subject = quick_subject(trace(nn.Sequential(nn.Sigmoid()), (torch.zeros(1, 1),)), target.load("host"))
    return sum(device.profile(subject.lower({}), subject.feed, threads, 10.0).values())


def facts(shape: Shape, times: Mapping[str, list[float]], peak_gflops: float, empty_us: float) -> dict[str, Any]:
    """Return the ratios and what follows from them."""
    middle = {scheme: median(us) for scheme, us in times.items()}
    ratios = {
        scheme: {
            "over_float": median(a / b for a, b in zip(times["float"], us, strict=True)),
            "over_float_net": median((a - empty_us) / (b - empty_us) for a, b in zip(times["float"], us, strict=True)),
            "over_int8": median(a / b for a, b in zip(times[INT8.name], us, strict=True)),
            "share_of_peak": shape.flop * float(scheme.partition(":")[2]) / (1e3 * middle[scheme]) / peak_gflops,
        }
        for scheme, us in times.items()
        if ":" in scheme
    }
    return {
        "us": middle,
        "int8_over_float": median(a / b for a, b in zip(times["float"], times[INT8.name], strict=True)),
        "sparse": ratios,
        "crossover_float": crossover(middle, middle["float"]),
        "crossover_int8": crossover(middle, middle[INT8.name]),
    }


def crossover(times_us: Mapping[str, float], dense_us: float) -> float:
    """Return the density in blocks of 4x1 at which the sparse kernel takes as long as a dense one, at most 1."""
    points = sorted((float(s.partition(":")[2]), us) for s, us in times_us.items() if s.startswith(f"{BLOCKS}:"))
    slope, base = np.polyfit([density for density, _ in points], [us for _, us in points], 1)
    return float(np.clip((dense_us - base) / slope, 0.0, 1.0)) if slope > 0 else 1.0


def summary(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return for each group and scheme the geometric mean and the least ratio to dense float and to integers."""
    found: dict[str, dict[str, float]] = {}
    groups = {**GROUPS, "all 1x1": RESNET50 + MOBILENET_V2}
    for group, shapes in groups.items():
        for scheme in (f"{SINGLE}:0.1", f"{BLOCKS}:0.1", f"{BLOCKS}:0.05"):
            own = [results[str(shape)]["sparse"][scheme] for shape in shapes]
            found[f"{group} {scheme}"] = {
                "over_float": geometric_mean(one["over_float"] for one in own),
                "over_float_net": geometric_mean(one["over_float_net"] for one in own),
                "least_over_float": min(one["over_float"] for one in own),
                "over_int8": geometric_mean(one["over_int8"] for one in own),
                "share_of_peak": median(one["share_of_peak"] for one in own),
            }
    return found


def main() -> None:
    """Measure all shapes, print a table and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    hardware = target.load("host").hardware
    content: dict[str, Any] = {"settings": vars(options)}
    with open_device("local") as device:
        for threads in options.threads:
            peak = threads * hardware.clock_ghz * hardware.float_flop_per_cycle
            shapes = dict.fromkeys(shape for group in GROUPS.values() for shape in group)
            empty = empty_us(device, threads)
            found = {
                str(shape): facts(shape, timed(device, shape, threads, options.rounds), peak, empty)
                for shape in track(shapes, f"{threads} threads")
            }
            content[f"threads {threads}"] = {"empty_us": empty, "shapes": found, "summary": summary(found)}
            show(found, content[f"threads {threads}"]["summary"], threads)
    print(save("sparse_kernels", content))


def show(found: Mapping[str, Mapping[str, Any]], means: Mapping[str, Mapping[str, float]], threads: int) -> None:
    """Print the table of one number of threads."""
    print(f"\n{threads} threads: times of dense float and int8 in us; sparse: times float, share of peak; crossovers")
    for name, one in found.items():
        sparse = "  ".join(
            f"{scheme} {one['sparse'][scheme]['over_float']:5.2f}x {one['sparse'][scheme]['share_of_peak']:4.0%}"
            for scheme in ASKED
        )
        cross = f"{one['crossover_float']:4.0%} {one['crossover_int8']:4.0%}"
        print(f"{name:22} {one['us']['float']:7.0f} {one['us'][INT8.name]:7.0f}  {sparse}  {cross}")
    for name, one in means.items():
        print(
            f"{name:32} {one['over_float']:5.2f}x of float (least {one['least_over_float']:.2f}x; net "
            f"{one['over_float_net']:.2f}x), "
            f"{one['over_int8']:.2f}x of int8, {one['share_of_peak']:.0%} of peak"
        )


if __name__ == "__main__":
    main()
