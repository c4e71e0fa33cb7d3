"""How much accuracy each way of removing channels keeps, at equal widths and equal training, with controls.

    HWCOMP_CIFAR10=cifar10_jpeg.npz python benchmarks/pruning.py [--epochs 12] [--steps 94] [--rates 0.4] [--seeds 3]
                                                                 [--precision bf16]

Every run starts from the trained network (or, where it says so, from fresh weights), trains for the same number of
steps with the same batches and ends with the same widths; test data is read once, at the end. A run that is done is
kept in build/pruning and not repeated, so that several processes may share the work, and an interrupted one goes on.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from common import ROOT, FewBatches, claim, save, test_accuracy
from rich.console import Console

from hwcomp.config import Shrinking
from hwcomp.console import Reporter
from hwcomp.importance import load_importance
from hwcomp.macs import macs_of
from hwcomp.search.asymptotic_soft_filter_pruning import asymptotic_soft_filter_pruning
from hwcomp.search.recovery import Recovery
from hwcomp.search.same_graph import fresh
from hwcomp.search.shrink import Shrink, best_channels, checked_groups
from hwcomp.search.shrunk import Shrunk
from hwcomp.search.soft_filter_pruning import soft_filter_pruning
from hwcomp.search.uniform_pruning import uniform_pruning
from hwcomp.tracing import trace
from hwcomp.workload import Workload, load_workload

RATE, SCRATCH_RATE = 0.01, 0.1
"""Learning rates from a trained start and from fresh weights."""

NO_LIMIT = 1e9
"""Norm of all gradients together that is never reached."""


def small_from_scratch(shrink: Shrink) -> Shrunk:
    """Return the small network, trained from fresh weights: what pruning must beat."""
    widths = shrink.widths_at(shrink.rate)
    small = fresh(shrink.compacted(best_channels(shrink.scores(), widths)), shrink.recovery.seed)
    recovery = replace(shrink.recovery, options=shrink.options.model_copy(update={"learning_rate": SCRATCH_RATE}))
    trained, history = recovery(small, "small_from_scratch", decay_all=True)
    return Shrunk(network=trained, widths=widths, history=history)


def dense(shrink: Shrink) -> Shrunk:
    """Return the whole network after as much further training: what pruning is compared with."""
    trained, history = shrink.recovery(shrink.network, "dense", decay_all=True)
    return Shrunk(network=trained, widths={}, history=history)


def without_limit(shrink: Shrink) -> Shrunk:
    """Return what asymptotic soft pruning makes of a network without the limit of its gradients."""
    recovery = replace(shrink.recovery, options=shrink.options.model_copy(update={"clip": NO_LIMIT}))
    return asymptotic_soft_filter_pruning(replace(shrink, recovery=recovery))


METHODS: dict[str, tuple[Callable[[Shrink], Shrunk], str]] = {
    "asymptotic_soft_filter_pruning": (asymptotic_soft_filter_pruning, "l2"),
    "asymptotic, gradients without limit": (without_limit, "l2"),
    "soft_filter_pruning": (soft_filter_pruning, "l2"),
    "uniform_pruning, l1": (uniform_pruning, "l1"),
    "uniform_pruning, random": (uniform_pruning, "random_control"),
    "small from scratch": (small_from_scratch, "l1"),
    "dense, as much training": (dense, "l1"),
}


def run(workload: Workload, method: str, rate: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the test accuracy of one training."""
    function, importance = METHODS[method]
    network = trace(workload.model, workload.example_inputs)
    assert workload.train_data is not None
    batches = partial(FewBatches, workload.train_data, options.steps)
    shrinking = Shrinking(rate=rate, epochs=options.epochs, learning_rate=RATE, precision=options.precision)
    recovery = Recovery(
        workload=replace(workload, train_data=batches),
        validation=[],
        options=shrinking,
        folder=ROOT / "build" / "pruning" / "training",
        seed=seed,
        reporter=Reporter(Console(quiet=True)),
        taught=False,
    )
    shrink = Shrink(
        network=network,
        groups=checked_groups(network),
        importance=load_importance(importance, seed),
        recovery=recovery,
        multiple=1,
        options=shrinking,
    )
    shrunk = function(shrink)
    return {
        "method": method,
        "rate": rate,
        "seed": seed,
        "test_accuracy": test_accuracy(workload, shrunk.network),
        "macs_removed": 1 - macs_of(shrunk.network) / macs_of(network),
        "last_loss": shrunk.history[-1].loss,
    }


def main() -> None:
    """Run what is missing, then print a table and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=94, help="batches of 128 in each")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="no", choices=["no", "bf16"], help="of training")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    options = parser.parse_args()
    workload = load_workload(f"{ROOT}/examples/cifar10/model.py:{options.model}")
    if workload.train_data is None or workload.train_data() is None:
        parser.error("HWCOMP_CIFAR10 is not set: point it at the archive (see examples/cifar10/README.md)")
    mixed = "" if options.precision == "no" else f"-{options.precision}"
    folder = ROOT / "build" / "pruning" / f"{options.model}-{options.epochs}x{options.steps}{mixed}"
    folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in range(options.seeds):
        for rate in options.rates:
            for method in options.methods:
                path = folder / f"{method.replace(', ', '-').replace(' ', '_')}-{rate}-{seed}.json"
                if not claim(path):
                    continue
                path.write_text(json.dumps(run(workload, method, rate, seed, options)))
                print(path.read_text(), flush=True)
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    original = test_accuracy(workload, trace(workload.model, workload.example_inputs))
    settings = {
        "model": options.model,
        "epochs": options.epochs,
        "steps_per_epoch": options.steps,
        "batch": 128,
        "precision": options.precision,
    }
    print(f"{options.model} as it is: {original:.2f} %")
    for (method, rate), scores in grouped(runs).items():
        print(f"{method:32} {rate:.0%}  {np.mean(scores):.2f} +- {np.std(scores):.2f} % ({len(scores)} seeds)")
    print(save(f"pruning_{options.model}{mixed}", {"settings": settings, "original": original, "runs": runs}))


def grouped(runs: list[dict[str, Any]]) -> dict[tuple[str, float], list[float]]:
    """Return the scores of each method and rate."""
    found: dict[tuple[str, float], list[float]] = {}
    for one in runs:
        found.setdefault((one["method"], one["rate"]), []).append(one["test_accuracy"])
    return found


if __name__ == "__main__":
    main()
