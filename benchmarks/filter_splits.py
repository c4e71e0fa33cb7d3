"""What a layer costs whose filters have two precisions, by the same layer in 8-bit integers alone; float beside it.

    python benchmarks/filter_splits.py [--share 0.25] [--threads 1]

All layers of a network are split at once, so each is timed among its like, with its concatenation and the changes of
format within it. Several rounds take turns; saved are the medians for every layer.
"""

import argparse
from statistics import median

from common import ROOT, save

from hwcomp import target
from hwcomp.default_passes import default_passes
from hwcomp.design import INTEGERS
from hwcomp.devices import open_device
from hwcomp.devices.base import Device
from hwcomp.entries import Profile
from hwcomp.filter_splits import filters_of, split_assignment, split_network
from hwcomp.groups import width_groups
from hwcomp.kernels import search_space
from hwcomp.program import Program, run_passes
from hwcomp.scheme import FLOAT, Split
from hwcomp.space import Assignment
from hwcomp.split_costs import in_parts_us, whole_us
from hwcomp.tracing import trace
from hwcomp.width_timing import DeviceTimer
from hwcomp.workload import load_workload

MODELS = ("cifar10/model.py:resnet20", "imagenet_shapes/model.py:resnet18")
ROUNDS = 3


def measure(device: Device, name: str, share: float, threads: int) -> dict[str, dict[str, float]]:
    """Return for every layer the latency of the split and of the float one, by that of the integer one."""
    workload, host = load_workload(f"{ROOT}/examples/{name}"), target.load("host")
    network = trace(workload.model, workload.example_inputs)
    space = search_space(run_passes(network, default_passes(host)))
    able = {site.name for site in space.sites if INTEGERS in site.candidates}
    split = Split(first=FLOAT, share=share, second=INTEGERS)
    splits = {layer: split for layer in filters_of(network, width_groups(network)) if layer in able}
    in_parts = split_network(network, splits, multiple=8)
    integers = space.everywhere(INTEGERS)
    mixed = split_assignment(in_parts, integers | dict.fromkeys(splits, str(split)))
    layers = [layer for layer in splits if layer not in mixed]

    def timed(program: Program, assignment: Assignment) -> tuple[Profile, float]:
        return DeviceTimer(device=device, target=host, threads=threads, assignment=assignment)(program)

    found: dict[str, list[tuple[float, float]]] = {layer: [] for layer in layers}
    for _ in range(ROUNDS):
        alone, floats, parts = timed(network, integers), timed(network, {}), timed(in_parts, mixed)
        for layer in layers:
            unit = whole_us(layer, *alone)
            found[layer].append((in_parts_us(layer, *parts) / unit, whole_us(layer, *floats) / unit))
    return {
        layer: {"split": median(s for s, _ in rounds), "float": median(f for _, f in rounds)}
        for layer, rounds in found.items()
    }


def main() -> None:
    """Measure, print a line for each network and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.25, help="of the filters in float, by blocks of eight")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with open_device("local") as device:
        found = {name: measure(device, name, options.share, options.threads) for name in MODELS}
    for name, layers in found.items():
        pays = [layer for layer, costs in layers.items() if 1 < costs["split"] < costs["float"]]
        split, plain = (median(costs[kind] for costs in layers.values()) for kind in ("split", "float"))
        print(f"{name}: split {split:.2f}x, float {plain:.2f}x of int8; pays in {len(pays)} of {len(layers)} layers")
    print(save("filter_splits", {"settings": vars(options), "layers": found}))


if __name__ == "__main__":
    main()
