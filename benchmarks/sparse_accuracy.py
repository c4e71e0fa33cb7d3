"""What sparse weights cost in accuracy, and what they gain in measured latency: ResNet-20 on CIFAR-10.

    HWCOMP_CIFAR10=cifar10_jpeg.npz python benchmarks/sparse_accuracy.py [--model resnet20] [--epochs 8] [--steps 94]
                                            [--densities 0.2 0.1 0.05 0.02] [--seeds 3] [--methods magnitude_pruning]

Every run starts from the trained network and trains for as many steps with the same batches; test data is read once,
at the end. A run that is done is kept in build/sparse_accuracy, so that several processes may share the work. At the
end, on a machine that should be quiet, the networks are timed with one thread: dense float, dense with the zeros left
in, 8-bit integers, those with fewer channels, and sparse.
"""

import argparse
import copy
import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from common import ROOT, FewBatches, claim, save, test_accuracy
from rich.console import Console
from sparse_networks import sparse_everywhere

from hwcomp import target
from hwcomp.compaction import compact
from hwcomp.config import Shrinking
from hwcomp.console import Reporter
from hwcomp.devices import open_device
from hwcomp.devices.compare import compare
from hwcomp.importance import load_importance
from hwcomp.ops import anchor, module_of
from hwcomp.program import Program
from hwcomp.quick_subject import quick_subject
from hwcomp.scheme import INT8, Sparse
from hwcomp.search.magnitude_pruning import magnitude_pruning
from hwcomp.search.recovery import Recovery
from hwcomp.search.score_pruning import score_pruning
from hwcomp.search.shrink import best_channels, checked_groups
from hwcomp.search.sparse_sites import sparse_sites
from hwcomp.search.sparsify import RATE, Sparsify
from hwcomp.sparsity import pattern_mask
from hwcomp.tracing import trace
from hwcomp.width_designs import rounded
from hwcomp.workload import Workload, load_workload

THREADS = 1
NARROW, PRUNED, MULTIPLE = "uniform_pruning", (0.3, 0.4), 16
"""The dense control in integers: about so much of its channels is gone, and widths are multiples, which are fast."""

METHODS = {"magnitude_pruning": magnitude_pruning, "score_pruning": score_pruning}
PATTERNS = {"4x1": 4, "1x1": 1}


def run(workload: Workload, method: str, sparse: Sparse, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the test accuracy of one training."""
    network = trace(workload.model, workload.example_inputs)
    assert workload.train_data is not None
    recovery = Recovery(
        workload=replace(workload, train_data=partial(FewBatches, workload.train_data, options.steps)),
        validation=[],
        options=Shrinking(epochs=options.epochs, learning_rate=RATE, precision=options.precision),
        folder=ROOT / "build" / "sparse_accuracy" / "training",
        seed=seed,
        reporter=Reporter(Console(quiet=True)),
        taught=False,
    )
    if method == "dense":
        trained, history = recovery(network, "dense", decay_all=True)
    elif method == NARROW:
        trained, history = recovery(_narrower(network, 1 - sparse.density), NARROW, decay_all=True)
    else:
        sites = sparse_sites(network, sparse).sites
        done = METHODS[method](Sparsify(network=network, sites=sites, sparse=sparse, recovery=recovery))
        trained, history = done.network, done.history
    return {
        "method": method,
        "pattern": f"{sparse.rows}x1" if method in METHODS else "",
        "density": sparse.density,
        "seed": seed,
        "test_accuracy": test_accuracy(workload, trained),
        "last_loss": history[-1].loss,
    }


def latencies(workload: Workload, densities: list[float], rounds: int) -> dict[str, dict[str, float]]:
    """Return how many times faster than dense float each network is; which weights are zero does not change that."""
    host = target.load("host")
    network = trace(workload.model, workload.example_inputs)
    dense = quick_subject(network, host)
    models = {"float": dense.lower({}), "int8": dense.lower(dense.space.everywhere(INT8.name))}
    for rate in PRUNED:
        narrow = quick_subject(_narrower(network, rate), host)
        models[f"pruned {rate} int8"] = narrow.lower(narrow.space.everywhere(INT8.name))
    for pattern, rows in PATTERNS.items():
        for density in densities:
            sparse = Sparse(rows=rows, density=density)
            subject = quick_subject(_masked(network, sparse), host)
            models[f"masked {pattern} {density}"] = subject.lower({})
            models[f"sparse {pattern} {density}"] = subject.lower(sparse_everywhere(subject.space))
    with open_device("local") as device:
        timed = compare(device, models, dense.feed, THREADS, rounds)
    return {name: {"us": timed.measurement(name).median_us, "speedup": timed.speedup(name)} for name in models}


def _narrower(network: Program, rate: float) -> Program:
    """Return the network without about a share of the channels of each group, those of the smallest weights."""
    groups, importance = checked_groups(network), load_importance("l1", 0)
    scores = {group.name: importance(network.module, group, None) for group in groups.groups}
    widths = {group.name: rounded(group.channels, 1 - rate, MULTIPLE) for group in groups.groups}
    return compact(network, groups, best_channels(scores, widths))


def _masked(network: Program, sparse: Sparse) -> Program:
    """Return the network with the weights left out that are smallest."""
    sites = set(sparse_sites(network, sparse).sites)
    copied = replace(network, module=copy.deepcopy(network.module))
    for node in copied.nodes:
        if node.name in sites:
            module = module_of(node)
            assert module is not None
            weight = anchor(module).weight
            weight.data = weight.data * pattern_mask(weight, sparse)
    return copied


def main() -> None:
    """Run what is missing, then time, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=94, help="batches of 128 in each")
    parser.add_argument("--densities", type=float, nargs="+", default=[0.2, 0.1, 0.05, 0.02])
    parser.add_argument("--patterns", nargs="+", default=list(PATTERNS), choices=list(PATTERNS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="bf16", choices=["no", "bf16"], help="of training")
    parser.add_argument("--methods", nargs="+", default=["magnitude_pruning"], choices=list(METHODS))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--untimed", action="store_true", help="only train: another process times")
    options = parser.parse_args()
    workload = load_workload(f"{ROOT}/examples/cifar10/model.py:{options.model}")
    if workload.train_data is None or workload.train_data() is None:
        parser.error("HWCOMP_CIFAR10 is not set: point it at the archive (see examples/cifar10/README.md)")
    folder = (
        ROOT / "build" / "sparse_accuracy" / f"{options.model}-{options.epochs}x{options.steps}-{options.precision}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        cases = [(m, Sparse(rows=PATTERNS[p], density=d)) for m in options.methods for p in options.patterns
                 for d in options.densities]  # fmt: skip
        controls = [(NARROW, Sparse(density=round(1 - rate, 2))) for rate in PRUNED]
        for method, sparse in [*controls, *cases, ("dense", Sparse(density=1.0))]:
            path = folder / f"{method}-{sparse}-{seed}.json".replace(":", "_")
            if claim(path):
                path.write_text(json.dumps(run(workload, method, sparse, seed, options)))
                print(path.read_text(), flush=True)
    if not options.untimed:
        report(workload, options, [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))])


def report(workload: Workload, options: argparse.Namespace, runs: list[dict[str, Any]]) -> None:
    """Time the networks, print a table and save everything."""
    original = test_accuracy(workload, trace(workload.model, workload.example_inputs))
    timed = latencies(workload, options.densities, options.rounds)
    print(f"{options.model} as it is: {original:.2f} %; int8 {timed['int8']['speedup']:.2f}x")
    for rate in PRUNED:
        print(f"int8 without about {rate:.0%} of the channels: {timed[f'pruned {rate} int8']['speedup']:.2f}x")
    for method, pattern, density in dict.fromkeys((one["method"], one["pattern"], one["density"]) for one in runs):
        scores = [
            one["test_accuracy"]
            for one in runs
            if (one["method"], one["pattern"], one["density"]) == (method, pattern, density)
        ]
        name = f"{pattern} {density}"
        speed = (
            ""
            if not pattern
            else f"{timed[f'sparse {name}']['speedup']:.2f}x (masked {timed[f'masked {name}']['speedup']:.2f}x)"
        )
        print(f"{method:18} {name:10} {np.mean(scores):.2f} +- {np.std(scores):.2f} % ({len(scores)})  {speed}")
    content = {"settings": vars(options), "original": original, "latency": timed, "runs": runs}
    print(save(f"sparse_accuracy_{options.model}", content))


if __name__ == "__main__":
    main()
