"""Is the budget met, whatever it is? Searches for several budgets and seeds, each with little training.

    HWCOMP_CIFAR10=cifar10_jpeg.npz python benchmarks/search_budgets.py [--budgets 1.6x 1.8x 2x 2.2x] [--seeds 5]

Weights do not change how fast a network is, so a few batches of training are enough to see whether what is found is
measured within its budget. Saved are, for every run, the measured speed-up, how much of the budget was used, and how
far from the budget the expected latency was at the end of the search.
"""

import argparse
import os
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
    except InputError as error:  # said before anything was trained
        return {**facts, "refused": str(error)}
    asked = float(budget.removesuffix("x"))
    last = report.search[-1]
    return {
        **facts,
        "met": report.budget.met,
        "speedup": report.speedup,
        "used": asked / report.speedup,
        "expected_by_budget": last.expected_us / last.budget_us,
    }


def main() -> None:
    """Run all of it, print a line for each, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--budgets", nargs="+", default=["1.6x", "1.8x", "2x", "2.2x"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--verbose", action="store_true", help="show what each compilation says")
    options = parser.parse_args()
    if "HWCOMP_CIFAR10" not in os.environ:
        parser.error("HWCOMP_CIFAR10 is not set: point it at the archive (see examples/cifar10/README.md)")
    workload = load_workload(f"{ROOT}/examples/cifar10/model.py:{options.model}")
    assert workload.train_data is not None
    few = replace(workload, train_data=partial(FewBatches, workload.train_data, BATCHES), eval_data=None)
    runs = []
    for seed in range(options.seeds):
        for budget in options.budgets:
            runs.append(run(few, budget, seed, options))
            print(runs[-1], flush=True)
    done = [one for one in runs if "refused" not in one]
    met = sum(one["met"] for one in done)
    print(f"{met} of {len(done)} within the budget; {len(runs) - len(done)} refused before training")
    print(f"used, median {np.median([one['used'] for one in done]):.3f}")
    print(f"expected by budget, largest distance {max(abs(one['expected_by_budget'] - 1) for one in done):.3f}")
    print(save("search_budgets", {"settings": vars(options), "runs": runs}))


if __name__ == "__main__":
    main()
