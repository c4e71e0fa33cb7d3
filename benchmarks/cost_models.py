"""How well the latency table of this machine predicts whole networks that it was not fitted on.

    python benchmarks/cost_models.py [NAME ...]

For each of four networks, from an empty store: the table as `hwcomp profile MODEL` makes it, then random assignments
that it has not seen, timed in interleaved rounds. The same assignments are predicted by the table without correction,
by the roofline and by the number of operations, each with its best single factor, to show what the table is worth.
Nothing else should run on the machine.
"""

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, save
from scipy.stats import spearmanr

from hwcomp.analysis import facts_of
from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.cost_models.lookup import Lookup
from hwcomp.cost_models.roofline import Roofline
from hwcomp.design import random_assignments
from hwcomp.devices import open_device
from hwcomp.latency_table import Tabulator, as_run
from hwcomp.pipeline import traced
from hwcomp.prepared import prepare_for_search
from hwcomp.profile_command import RUNS
from hwcomp.profiling import time_runs
from hwcomp.scheme import reads_integers
from hwcomp.stages import Stages
from hwcomp.store import Store
from hwcomp.target import load
from hwcomp.workload import load_workload

NAMES = ("resnet18", "mobilenet_v2", "efficientnet_b0", "vit_tiny")
HELD_OUT, HELD_OUT_SEED = 15, 1_000_003
INT8_SPEED = 3.0
"""How many times faster an operation is counted in integers, for the prediction from operations alone."""


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Return predictions and measurements of one network."""
    target, reporter = load("host"), Reporter()
    workload = load_workload(f"{ROOT}/examples/imagenet_shapes/model.py:{name}")
    program = traced(workload, target, reporter)
    stages = Stages(folder / "cache")
    prepared = prepare_for_search(workload, program, target, CompileConfig(), stages, reporter)
    subject, device, threads = prepared.subject, open_device("local"), target.hardware.cores
    start = time.monotonic()
    tabulator = Tabulator(
        subject=subject, devices=(device,), store=Store(folder / "store.sqlite"), threads=threads, float_us=None,
        seed=0, stage=reporter.stage("Table"),
    )  # fmt: skip
    table = tabulator.table(runs=RUNS, allow_learned=False).table
    seconds = time.monotonic() - start
    float_us = table.predict_us({})
    drawn = random_assignments(subject.space, HELD_OUT, random.Random(HELD_OUT_SEED))  # noqa: S311 - a sample
    rows = [row for rows in time_runs(subject, (device,), drawn, threads, print) for row in rows]
    control_us = float(np.median([row.control_us for row in tabulator.store.runs(tabulator.setting, subject.network)]))
    taken = [as_run(row, control_us).latency_us for row in rows]
    keys = subject.kernels.keys
    kept = {key: row.median_us for key, row in tabulator.store.kernels(tabulator.setting, keys).items()}
    raw = Lookup(rows=kept).cost_table(subject.space, subject.kernels)
    roofline = Roofline(target=target, threads=threads).cost_table(subject.space, subject.kernels)

    def operations(assignment: dict[str, str]) -> float:
        total = 0.0
        for site, choice in assignment.items():
            macs = facts_of(subject.kernels.sites[site][choice]).macs
            total += macs / (INT8_SPEED if reads_integers(choice) else 1.0)
        return total

    return {
        "network": name,
        "seconds_to_profile": seconds,
        "kernels": len(keys),
        "stated_error": table.error,
        "float_us": float_us,
        "measured_us": taken,
        "predicted_us": [table.predict_us(a) for a in drawn],
        "sum_of_kernels_us": [raw.predict_us(a) for a in drawn],
        "roofline_us": [roofline.predict_us(a) for a in drawn],
        "operations": [operations(a) for a in drawn],
    }


def judged(result: dict[str, Any]) -> dict[str, Any]:
    """Return how good each prediction is; all but the table's get their best single factor."""
    taken = np.array(result["measured_us"])
    judgements = {}
    for kind in ("predicted_us", "sum_of_kernels_us", "roofline_us", "operations"):
        predicted = np.array(result[kind])
        if kind != "predicted_us":
            predicted = predicted * np.median(taken / predicted)
        error = np.abs(predicted / taken - 1)
        judgements[kind] = {
            "within_10_percent": float(np.mean(error <= 0.10)),
            "within_20_percent": float(np.mean(error <= 0.20)),
            "mean_error": float(error.mean()),
            "max_error": float(error.max()),
            "spearman": float(spearmanr(predicted, taken)[0]),
        }
    return judgements


def main() -> None:
    """Measure, print a table and save it."""
    results = []
    for name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(name, Path(folder))
        result["judged"] = judged(result)
        results.append(result)
        print(f"{name}: {result['kernels']} kernels in {result['seconds_to_profile']:.0f} s, "
              f"stated error {100 * result['stated_error']:.0f} %")  # fmt: skip
        for kind, values in result["judged"].items():
            share = 100 * values["within_10_percent"]
            print(f"  {kind:18} within 10 %: {share:4.0f} %  mean {values['mean_error']:.3f}  "
                  f"max {values['max_error']:.3f}  spearman {values['spearman']:.3f}")  # fmt: skip
    errors = np.concatenate([np.abs(np.divide(r["predicted_us"], r["measured_us"]) - 1) for r in results])
    print(f"all: {100 * np.mean(errors <= 0.1):.0f} % within 10 %, {100 * np.mean(errors <= 0.2):.0f} % within 20 %")
    if not sys.argv[1:]:
        overall = {
            "within_10_percent": float(np.mean(errors <= 0.1)),
            "within_20_percent": float(np.mean(errors <= 0.2)),
        }
        print(save("cost_models", {"overall": overall, "networks": results}))


if __name__ == "__main__":
    main()
