"""Is the budget met, whatever it is? Searches for several budgets and seeds, each with little training.

    HWCOMP_CIFAR10=cifar10_jpeg.npz python benchmarks/search_budgets.py [--budgets 1.6x 1.8x 2x 2.2x] [--seeds 5]

Weights do not change how fast a network is, so a few batches of training are enough to see whether what is found is
measured within its budget. Saved are, after every run, the measured speed-up, how much of the budget was used, how far
from the budget the expected latency was at the end of the search, and which configuration was taken.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from common import ROOT, FewBatches, save
from rich.console import Console

from hwcomp.config import CompileConfig, Shrinking, Speedup
from hwcomp.console import Reporter
from hwcomp.errors import BudgetError, InputError
from hwcomp.pipeline import compile_workload
from hwcomp.search_options import SearchOptions
from hwcomp.workload import Workload, load_workload

BATCHES = 6
"""Of the training data, in each epoch: three steps of the search, which takes two of them a step."""


def run(workload: Workload, budget: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return what came of one budget and seed."""
    config = CompileConfig(
        budget=Speedup(budget),
        method="differentiable",
        shrinking=Shrinking(epochs=2, precision="bf16"),
        searching=SearchOptions(warmup=0.0),
        threads=options.threads,
        seed=seed,
        out=ROOT / "build" / "search-budgets",
        force=True,
    )
    facts: dict[str, Any] = {"budget": budget, "seed": seed}
    report: Any
    try:
        report = compile_workload(workload, config, Reporter(Console(quiet=not options.verbose))).report
    except BudgetError as error:
        report = error.report
    except InputError as error:
        return {**facts, "refused": str(error)}
    asked, found = float(budget.removesuffix("x")), dict[str, Any]()
    if report.search:  # it is the whole network that met the budget where nothing else was measured within it
        found["expected_by_budget"] = report.search[-1].expected_us / report.search[-1].budget_us
    if report.contest:
        found["taken"] = next(entry.name for entry in report.contest if entry.chosen)
    return {
        **facts, "met": report.budget.met, "speedup": report.speedup, "used": asked / report.speedup, **found
    }  # fmt: skip


def summary(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what came of some runs, in words."""
    done = [one for one in runs if "refused" not in one]
    met = sum(one["met"] for one in done)
    lines = [f"{met} of {len(done)} within the budget; {len(runs) - len(done)} refused"]
    if done:
        lines.append(f"used, median {np.median([one['used'] for one in done]):.3f}")
    if ends := [one["expected_by_budget"] for one in done if "expected_by_budget" in one]:
        lines.append(f"expected by budget, largest distance {max(abs(end - 1) for end in ends):.3f}")
    return lines


def main() -> None:
    """Run all of it, print a line for each, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--budgets", nargs="+", default=["1.6x", "1.8x", "2x", "2.2x"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=BATCHES, help="of training data in each epoch")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--verbose", action="store_true", help="show what each compilation says")
    options = parser.parse_args()
    if "HWCOMP_CIFAR10" not in os.environ:
        parser.error("HWCOMP_CIFAR10 is not set: point it at the archive (see examples/cifar10/README.md)")
    workload = load_workload(f"{ROOT}/examples/cifar10/model.py:{options.model}")
    assert workload.train_data is not None
    few = replace(workload, train_data=partial(FewBatches, workload.train_data, options.batches), eval_data=None)
    runs: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for budget in options.budgets:
            runs.append(run(few, budget, seed, options))
            save("search_budgets", {"settings": vars(options), "runs": runs})
            print(runs[-1], flush=True)
    print(*summary(runs), save("search_budgets", {"settings": vars(options), "runs": runs}), sep="\n")


if __name__ == "__main__":
    main()
