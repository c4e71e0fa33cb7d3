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
from hwcomp.devices import open_device
from hwcomp.devices.base import Device
from hwcomp.filter_splits import filters_of
from hwcomp.groups import width_groups
from hwcomp.kernels import search_space
from hwcomp.program import run_passes
from hwcomp.scheme import INT8
from hwcomp.space import Assignment
from hwcomp.split_costs import timed_splits, whole_us
from hwcomp.tracing import trace
from hwcomp.width_timing import DeviceTimer
from hwcomp.workload import load_workload

MODELS = ("cifar10/model.py:resnet20", "imagenet_shapes/model.py:resnet18")
ROUNDS, MULTIPLE = 3, 8


def measure(device: Device, name: str, share: float, threads: int) -> dict[str, dict[str, float]]:
    """Return for every layer the latency of the split and of the float one, by that of the integer one."""
    workload, host = load_workload(f"{ROOT}/examples/{name}"), target.load("host")
    network = trace(workload.model, workload.example_inputs)
    space = search_space(run_passes(network, default_passes(host)))
    layers = list(filters_of(network, width_groups(network)))

    def timer_of(assignment: Assignment) -> DeviceTimer:
        return DeviceTimer(device=device, target=host, threads=threads, assignment=assignment)

    rounds = []
    for _ in range(ROUNDS):
        splits = timed_splits(network, space, layers, share, MULTIPLE, timer_of)
        integers, floats = timer_of(space.everywhere(INT8.name))(network), timer_of({})(network)
        rounds.append(
            {
                layer: (costs[0].ratio, whole_us(layer, *floats) / whole_us(layer, *integers))
                for layer, costs in splits.items()
            }
        )
    return {
        layer: {"split": median(one[layer][0] for one in rounds), "float": median(one[layer][1] for one in rounds)}
        for layer in rounds[0]
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
