"""From what size on are sparse weights faster than fewer channels in integers? ResNet-20 of multiples of its width.

    python benchmarks/sparse_sizes.py [--times 1 2 4] [--densities 0.3 0.2 0.1 0.05] [--rounds 6]

Random weights, one thread: `sparse_accuracy` has what these networks are worth on CIFAR-10 at the first width. Timed in
turn are dense float, 8-bit integers, those with fewer channels, and weights that stay in blocks of 4x1 or singly.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from common import ROOT, save
from sparse_accuracy import latencies

from hwcomp.workload import load_workload

WIDTHS = (16, 32, 64)
EXAMPLE = Path(ROOT / "examples" / "cifar10" / "model.py")


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--densities", type=float, nargs="+", default=[0.3, 0.2, 0.1, 0.05])
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    workload, found = load_workload(f"{EXAMPLE}:resnet20_scratch"), {}
    for times in options.times:
        torch.manual_seed(0)
        wide = type(workload.model)(20, tuple(times * width for width in WIDTHS)).eval()
        found[f"{times}x"] = latencies(replace(workload, model=wide), options.densities, options.rounds)
        line = ", ".join(f"{name} {one['speedup']:.2f}x" for name, one in found[f"{times}x"].items())
        print(f"{times}x as wide, float {found[f'{times}x']['float']['us']:.0f} us: {line}", flush=True)
    print(save("sparse_sizes", {"settings": vars(options), "widths": found}))


if __name__ == "__main__":
    main()
