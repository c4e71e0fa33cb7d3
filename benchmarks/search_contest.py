"""Is the differentiable search worth it? ResNet-20 on CIFAR-10 against its controls at the same measured latency.

    HWCOMP_CIFAR10=cifar10_jpeg.npz python benchmarks/search_contest.py [--speedup 2x] [--epochs 8] [--seeds 3]
                                            [--steps 94] [--threads 1] [--sparse] [--fixed-widths]

An interrupted run goes on where it was. Saved is what the report shows: every configuration with its latency and
the metric of every seed on samples nothing was trained on, and the test accuracy of the one that was taken.
"""

import argparse
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from common import ROOT, FewBatches, save
from rich.console import Console

from hwcomp.config import CompileConfig, Shrinking, Speedup
from hwcomp.console import Reporter
from hwcomp.pipeline import compile_workload
from hwcomp.search_options import SearchOptions
from hwcomp.workload import load_workload


def main() -> None:
    """Compile with controls, print the contest and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--speedup", default="2x")
    parser.add_argument("--epochs", type=int, default=8, help="of search and recovery together")
    parser.add_argument("--steps", type=int, help="batches of 128 in each epoch; all if not given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sparse", action="store_true", help="let layers compute with a part of their weights")
    parser.add_argument("--fixed-widths", action="store_true", help="keep all channels: search precision alone")
    parser.add_argument("--precision", default="bf16", choices=("no", "bf16"))
    options = parser.parse_args()
    if "HWCOMP_CIFAR10" not in os.environ:
        parser.error("HWCOMP_CIFAR10 is not set: point it at the archive (see examples/cifar10/README.md)")
    kinds = {"sparse": options.sparse, "precision": options.fixed_widths}
    name = "_".join(["search", options.model, *(kind for kind, is_so in kinds.items() if is_so)])
    config = CompileConfig(
        budget=Speedup(options.speedup),
        method="differentiable",
        shrinking=Shrinking(epochs=options.epochs, precision=options.precision),
        searching=SearchOptions(
            controls=True, seeds=options.seeds, sparse=options.sparse, fixed_widths=options.fixed_widths
        ),
        threads=options.threads,
        out=Path(ROOT / "build" / name),
        force=True,
    )
    workload = load_workload(f"{ROOT}/examples/cifar10/model.py:{options.model}")
    if options.steps:
        assert workload.train_data is not None
        workload = replace(workload, train_data=partial(FewBatches, workload.train_data, options.steps))
    report = compile_workload(workload, config, Reporter(Console())).report
    for entry in report.contest:
        metric = f"{np.mean(entry.metrics):.2f} +- {np.std(entry.metrics):.2f} %"
        print(f"{entry.name:20} {entry.speedup:.2f}x  {metric}{'  chosen' if entry.chosen else ''}")
    last = report.search[-1]
    found = {
        "contest": [entry.model_dump() for entry in report.contest],
        "expected_us": last.expected_us,
        "search": [record.model_dump() for record in report.search],
        "speedup": report.speedup,
        "met": report.budget.met,
        "float_accuracy": report.baseline.accuracy,
        "accuracy": report.compiled.accuracy,
        "widths": {width.group: width.kept for width in report.widths},
        "assignment": report.assignment,
    }
    print(f"artifact: {report.speedup:.2f}x, accuracy {report.baseline.accuracy:.2f} -> {report.compiled.accuracy:.2f}")
    print(save(name, {"settings": vars(options), **found}))


if __name__ == "__main__":
    main()
