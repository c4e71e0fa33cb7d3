r"""Are heterogeneous bit widths worth their search? ResNet-20 on CIFAR-10 at equal bit operations and equal training.

    HWCOMP_CIFAR10=cifar10_jpeg.npz python benchmarks/bit_widths.py [--budget w3a3] [--epochs 4] [--steps 94]

The budget is what one choice of bits everywhere takes, by the formula of `hwcomp.bit_operations`. Against it run: a
choice for every layer and one for every part of a layer's filters, both searched by gradient, and random choices at the
same bit operations. All train for as many steps in all with the same batches, with learned steps; test data is read
once, at the end. A run that is done is kept in build/bit_widths, so several processes may share the work.
"""

import argparse
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, FewBatches, claim, save
from rich.console import Console

from hwcomp import target
from hwcomp.bit_operations import bit_operations_by_layer, layers_of
from hwcomp.calibration import activation_ranges, observe
from hwcomp.compaction.permute import permuted
from hwcomp.config import Shrinking
from hwcomp.console import Reporter
from hwcomp.cost import CostTable
from hwcomp.default_passes import training_passes
from hwcomp.fingerprint import environment
from hwcomp.groups import width_groups
from hwcomp.importance import load_importance
from hwcomp.joint_cost import JointTable
from hwcomp.passes.split_filters import SplitFilters
from hwcomp.program import Program, run_passes
from hwcomp.scheme import quant_of
from hwcomp.search.controls import random_preference
from hwcomp.search.differentiable import SearchTask, differentiable
from hwcomp.search.joint_projection import Configuration, Preference
from hwcomp.search.recovery import Recovery
from hwcomp.search.spend import spend
from hwcomp.search_options import SearchOptions
from hwcomp.space import SearchSpace, Site
from hwcomp.supernet import set_coefficients, supernet
from hwcomp.tracing import trace
from hwcomp.width_law import Polynomial
from hwcomp.workload import Workload, load_workload

TARGET = target.load("x86_64")
CANDIDATES = ("w2a2", "w2a4", "w3a3", "w4a4", "w8a8")
"""Bits of weights and of what they multiply; those of [Zur2019] and 4 bits."""

PARTS, RATE, SEARCH_SHARE = 4, 0.01, 0.5
METHODS = ("homogeneous", "random layers", "searched layers", "searched filters")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One network with its data.

    Attributes:
        network: as traced; in parts where filters are searched.
        workload: its data.
        recovery: trains.
        table: bit operations in place of microseconds.
        budget: bit operations.
    """

    network: Program
    workload: Workload
    recovery: Recovery
    table: JointTable
    budget: float


def setting(options: argparse.Namespace, seed: int, *, in_parts: bool) -> Setting:
    """Return ResNet-20, its layers in parts by the norms of their filters if they are to be searched."""
    workload = load_workload(f"{ROOT}/examples/cifar10/model.py:{options.model}")
    assert workload.train_data is not None
    workload = replace(workload, train_data=partial(FewBatches, workload.train_data, options.steps))
    network = trace(workload.model, workload.example_inputs)
    table = table_of(network)
    budget = sum(us[options.budget] for us in table.table.site_us.values())
    if in_parts:
        groups, importance = width_groups(network), load_importance("l2", seed)
        order = {g.name: importance(network.module, g, None).argsort(descending=True).tolist() for g in groups.groups}
        network = SplitFilters(parts=PARTS, multiple=4)(permuted(network, groups, order)).program
        table = table_of(network)
    recovery = Recovery(
        workload=workload,
        validation=[],
        options=Shrinking(epochs=options.epochs, learning_rate=RATE, precision=options.precision),
        folder=ROOT / "build" / "bit_widths" / "training",
        seed=seed,
        reporter=Reporter(Console(quiet=True)),
    )
    return Setting(network=network, workload=workload, recovery=recovery, table=table, budget=budget)


def table_of(network: Program) -> JointTable:
    """Return the bit operations of every convolution and candidate; they add up, and nothing is converted."""
    layers = layers_of(network)
    costs: dict[str, dict[str, float]] = {layer.name: {} for layer in layers}
    for candidate in CANDIDATES:
        quant = quant_of(candidate)
        assert quant.weight_bits is not None
        assert quant.activation_bits is not None
        for layer, count in bit_operations_by_layer(layers, quant.weight_bits, quant.activation_bits).items():
            costs[layer][candidate] = float(count)
    sites = tuple(Site(name=layer.name, op="conv2d", candidates=CANDIDATES) for layer in layers)
    laws = {site: {c: Polynomial(constant=count) for c, count in own.items()} for site, own in costs.items()}
    table = CostTable(space=SearchSpace(sites=sites, edges=()), site_us=costs, quantize_us={}, dequantize_us={})
    return JointTable(table=table, channels={}, site_laws=laws, quantize_laws={}, dequantize_laws={})


def chosen(where: Setting, method: str, options: argparse.Namespace, seed: int) -> tuple[Program, Configuration]:
    """Return the network to go on with, and the bits of its layers."""
    if method == "homogeneous":
        bits = {site.name: options.budget for site in where.table.table.space.sites}
        return where.network, Configuration(assignment=bits, widths={}, predicted_us=where.budget)
    even = {site.name: dict.fromkeys(CANDIDATES, 1 / len(CANDIDATES)) for site in where.table.table.space.sites}
    preference, network = random_preference(Preference(schemes=even, widths={}), f"{seed}"), where.network
    if method != "random layers":
        searched = differentiable(
            SearchTask(
                network=network,
                target=TARGET,
                groups=width_groups(network),
                widths={},
                scores={},
                params=params_of(where),
                joint=where.table,
                budget_us=where.budget,
                recovery=where.recovery,
                options=SearchOptions(search_share=SEARCH_SHARE),
            )
        )
        preference, network = searched.preference, searched.network
    found = spend(where.table, preference, where.budget)
    assert found is not None, "the budget is that of a configuration of the space"
    return network, found


def params_of(where: Setting) -> Any:
    """Return where the steps of activations begin."""
    joined = run_passes(where.network, training_passes(TARGET))
    assert where.workload.calibration_data is not None
    images = next(iter(where.workload.calibration_data() or []))
    return activation_ranges(joined, observe(joined, [(images,)]), "mse", TARGET.activation)


def run(method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the test accuracy of one method and seed."""
    where = setting(options, seed, in_parts=method.endswith("filters"))
    network, found = chosen(where, method, options, seed)
    where = replace(where, network=network)
    candidates = {site: (choice,) for site, choice in found.assignment.items()}
    fixed = supernet(network, TARGET, params_of(where), candidates=candidates, alone=True).program
    set_coefficients(fixed.module, {site: torch.ones(1) for site in candidates})
    share = 1 - SEARCH_SHARE if method.startswith("searched") else 1.0
    trained, history = where.recovery(fixed, f"bit widths, {method}", goal=dict(found.assignment), share=share)
    return {
        "method": method,
        "seed": seed,
        "cpu": environment()["cpu"],
        "test_accuracy": test_accuracy(where.workload, trained),
        "gbops": found.predicted_us / 1e9,
        "last_loss": history[-1].loss,
        "assignment": dict(found.assignment),
    }


def test_accuracy(workload: Workload, network: Program) -> float:
    """Return the accuracy on the test images of a network with simulated rounding."""
    assert workload.eval_data is not None
    hits = total = 0
    for images, labels in workload.eval_data() or []:
        with torch.inference_mode():
            hits += int((network.module(images).argmax(1) == labels).sum())
        total += len(labels)
    return 100 * hits / total


def main() -> None:
    """Run what is missing, then print a table and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--budget", default="w3a3", choices=CANDIDATES)
    parser.add_argument("--epochs", type=int, default=4, help="of search and recovery together")
    parser.add_argument("--steps", type=int, default=94, help="batches of 128 in each")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--precision", default="bf16", choices=["no", "bf16"], help="of training")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    options = parser.parse_args()
    folder = ROOT / "build" / "bit_widths" / f"{options.model}-{options.budget}-{options.epochs}x{options.steps}"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for method in options.methods:
            path = folder / f"{method.replace(' ', '_')}-{seed}.json"
            if claim(path):
                path.write_text(json.dumps(run(method, seed, options)))
                print(path.read_text(), flush=True)
    report(options, [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))])


def report(options: argparse.Namespace, runs: list[dict[str, Any]]) -> Path:
    """Print mean and spread of every method and save all runs."""
    for method in METHODS:
        scores = [one["test_accuracy"] for one in runs if one["method"] == method]
        gbops = [one["gbops"] for one in runs if one["method"] == method]
        if scores:
            print(f"{method:18} {np.mean(gbops):.3f} GBOPs  {np.mean(scores):.2f} +- {np.std(scores):.2f} %")
    return save(f"bit_widths_{options.model}", {"settings": vars(options), "runs": runs})


if __name__ == "__main__":
    main()
