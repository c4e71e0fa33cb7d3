"""What a step of the differentiable search costs, in time and memory, against two plain steps of the same network.

    python benchmarks/search_cost.py [--rounds 12] [--threads 2]

A search step looks at two batches (one for the weights, one for the choices), so it is compared with plain training on
both. Random images of CIFAR-10's size; steps of all variants take turns. Memory is the peak of a fresh process for
each variant, above what it had before its first step.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from common import ROOT, save
from torch import nn

from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes
from hwcomp.estimators import load_estimator
from hwcomp.groups import width_groups
from hwcomp.joint_timing import joint_table
from hwcomp.kernels import kernels_of, search_space
from hwcomp.known_tables import KnownTables
from hwcomp.latency_terms import load_latency_term
from hwcomp.ops import WEIGHTED
from hwcomp.program import run_passes
from hwcomp.search.architect import supernet_optimiser
from hwcomp.search.relaxation import Relaxation
from hwcomp.store import Store
from hwcomp.supernet import supernet
from hwcomp.supernet.build import Widths
from hwcomp.target import load
from hwcomp.tracing import trace
from hwcomp.train import TrainConfig, task_objective
from hwcomp.train.optimisers import make_optimiser
from hwcomp.width_timing import KnownTimer
from hwcomp.workload import load_workload

PLAIN = "plain"
BITS = {2: (8, 4), 4: (8, 6, 4, 2), 8: (9, 8, 7, 6, 5, 4, 3, 2)}
"""Candidates -> weight bits; activations have 8, so that what grows is the number of candidates alone."""

SIMULATED = " simulated precisions"

WIDTHS = {"precision x width": 16, "precision x width, 2 widths": 32, "precision x width, 8 widths": 8}
"""Variant -> step of the widths."""

Step = Callable[[], None]


def variants() -> list[str]:
    """Return the names of all variants, the plain network first."""
    return [PLAIN, *WIDTHS, *(f"{count}{SIMULATED}" for count in BITS)]


def step_of(variant: str, batch: int) -> Step:
    """Return what makes one step of a variant (two for the plain network)."""
    workload, target = load_workload(f"{ROOT}/examples/cifar10/model.py"), load("arm")
    network = trace(workload.model, workload.example_inputs)
    config = TrainConfig(epochs=1, rate=1e-3)
    task = task_objective(workload.loss, None, config)
    images = torch.randn(2, batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(2 * batch).view(2, batch) % 10
    if variant == PLAIN:
        module: nn.Module = network.module.train()
        optimiser = make_optimiser(module, config)

        def plain() -> None:
            for x, y in zip(images, labels, strict=True):
                optimiser.zero_grad()
                torch.autograd.backward(task(module, (x,), y))
                optimiser.step()

        return plain
    program = run_passes(network, default_passes(target))
    space, groups = search_space(program), width_groups(network)
    params = activation_ranges(program, observe(program, [(images[0][:8, :],)]), "minmax", target.activation)
    with tempfile.TemporaryDirectory() as folder:
        tables = KnownTables(target=target, store=Store(Path(folder) / "latency.sqlite"), threads=1)
        table = tables.best(space, kernels_of(program, target.activation), "").table
        timers = [KnownTimer(tables=tables, assignment=space.everywhere(*s)) for s in ((), ("int8",))]
        joint = joint_table(network, groups, table, timers, 0)
    step = WIDTHS.get(variant, 16)
    choices = {g.name: tuple(sorted({*range(step, g.channels, step), g.channels})) for g in groups.groups}
    ranks = {g.name: torch.arange(g.channels) for g in groups.groups}
    simulated = {f"{count}{SIMULATED}": bits for count, bits in BITS.items()}.get(variant)
    candidates = None
    if simulated is not None:
        schemes = tuple(f"w{bits}a8" for bits in simulated)
        candidates = {site.name: schemes for site in space.sites if site.op in WEIGHTED}
    found = supernet(
        network, target, params, widths=Widths(groups=groups, choices=choices, ranks=ranks), candidates=candidates
    )
    relaxation = Relaxation(
        task=task, estimator=load_estimator("weight_mixture"), term=load_latency_term("lagrangian"),
        joint=joint if simulated is None else FreeTable(), budget_us=table.predict_us({}) / 2, warmup=0.0, order=1,
        weight_decay=0.0, seed=0,
    )  # fmt: skip
    module = found.program.module.train()
    optimiser = supernet_optimiser(config)(module)

    def search() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(relaxation(module, (images[0], images[1]), (labels[0], labels[1])))
        optimiser.step()

    return search


class FreeTable:
    """Latencies of simulated precisions, which no runtime has: all the same."""

    def expected_us(self, probabilities: dict[str, torch.Tensor], widths: object) -> torch.Tensor:
        """Return a number that depends on all logits."""
        del widths
        return torch.stack([p.sum() for p in probabilities.values()]).sum()


def peak_mb(variant: str, batch: int) -> float:
    """Return the peak memory of a fresh process that makes three steps."""
    command = [sys.executable, __file__, "--memory-of", variant, "--batch", str(batch)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def growth_mb(step: Step) -> float:
    """Return by how much three steps raise this process's memory, at the highest."""
    seen, done = [resident_mb()], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(3):
        step()
    done.set()
    watcher.join()
    return max(seen) - seen[0]


def resident_mb() -> float:
    """Return the memory of this process that is in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    """Measure, print the ratios and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--memory-of", help="print the peak memory of three steps in MB, and end")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        step = step_of(options.memory_of, options.batch)
        print(growth_mb(step))
        return
    steps = {variant: step_of(variant, options.batch) for variant in variants()}
    times: dict[str, list[float]] = {variant: [] for variant in steps}
    for index in range(options.rounds + 2):
        for variant in list(steps) if index % 2 else list(steps)[::-1]:
            start = time.perf_counter()
            steps[variant]()
            times[variant].append(time.perf_counter() - start)
    kept = {variant: seconds[2:] for variant, seconds in times.items()}
    rows = {}
    for variant, seconds in kept.items():
        ratios = [a / b for a, b in zip(seconds, kept[PLAIN], strict=True)]
        low, high = np.percentile(ratios, [10, 90])
        rows[variant] = {
            "seconds": median(seconds), "ratio": median(ratios), "ratio_p10": float(low), "ratio_p90": float(high),
            "peak_mb": peak_mb(variant, 4 * options.batch),
        }  # fmt: skip
        memory = rows[variant]["peak_mb"] / rows[PLAIN]["peak_mb"]
        print(f"{variant:30} {rows[variant]['ratio']:.2f}x ({low:.2f} to {high:.2f}) time, {memory:.2f}x memory")
    print(save("search_cost", {"batch": options.batch, "threads": options.threads, "variants": rows}))


if __name__ == "__main__":
    main()
