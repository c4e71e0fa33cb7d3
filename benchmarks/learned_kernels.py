"""How well the learned model predicts kernels that it has not seen, and a second device from twenty measurements.

Kernels of random networks are measured on this machine (``--minutes``), or read from a file that an earlier run kept
(``--rows``). They are held out in two ways: kernel by kernel, and network by network, which also holds out what the
machine's speed was at the time. ``--other`` names the rows of another device, for the transfer between devices.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save
from numpy.typing import NDArray

from hwcomp.devices import open_device
from hwcomp.features import family_of
from hwcomp.general_profile import as_subject
from hwcomp.kernel import BOUNDARIES, Kernel, parse
from hwcomp.learning import fit, log_errors
from hwcomp.profiling import profile_kernels
from hwcomp.regression import fit_regression
from hwcomp.sampling import draw_sample
from hwcomp.store import KernelRow
from hwcomp.target import load
from hwcomp.transfer import choose, transfer

FOLDS, SEED, FEW, MANY = 5, 0, 20, 2000
LONG_US = 5.0
"""Kernels that take longer are also reported alone: what is shorter is near what the profiler resolves."""

FUSED_US = 0.01
Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """A row and the random network that it was measured in."""

    row: KernelRow
    network: int


def measured(minutes: float, threads: int) -> list[Sampled]:
    """Return the rows of random networks, as many as the time allows."""
    target, device = load("host"), open_device("local")
    generator, found, network = random.Random(SEED), [], 0  # noqa: S311 - networks, not secrets
    torch.manual_seed(SEED)
    start = time.monotonic()
    while time.monotonic() - start < 60 * minutes:
        rows = profile_kernels(as_subject(draw_sample(generator), target), (device,), threads, print)
        found += [Sampled(row=row, network=network) for row in rows]
        network += 1
    return found


def read_rows(path: Path) -> list[Sampled]:
    """Return the rows of a file that `write_rows` wrote."""
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return [Sampled(row=KernelRow(**line["row"]), network=line["network"]) for line in lines]


def write_rows(path: Path, rows: Sequence[Sampled]) -> None:
    """Keep rows for another run."""
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def unique(rows: Sequence[Sampled]) -> list[Sampled]:
    """Return one row for each kernel: its median, of the network that it was seen in first."""
    by_kernel: dict[str, list[Sampled]] = {}
    for one in rows:
        by_kernel.setdefault(one.row.kernel, []).append(one)
    middle = []
    for same in by_kernel.values():
        ordered = sorted((one.row for one in same), key=lambda row: row.median_us)
        middle.append(replace(same[0], row=ordered[len(ordered) // 2]))
    return middle


def held_out(kernels: Sequence[Kernel], times_us: Vector, fold: NDArray[np.int64]) -> Vector:
    """Return what fits without each fold predict for it."""
    predicted = np.zeros(len(kernels))
    for index in range(FOLDS):
        fitted, asked = np.flatnonzero(fold != index), np.flatnonzero(fold == index)
        regression = fit_regression([kernels[i] for i in fitted], times_us[fitted], SEED)
        predicted[asked] = regression.predict_us([kernels[i] for i in asked])
    return predicted


def figures(errors: Vector) -> dict[str, float]:
    """Return what is said of errors of logarithms."""
    return {
        "kernels": len(errors),
        "median_error": float(np.expm1(np.median(errors))),
        "mean_error": float(np.expm1(errors.mean())),
        "within_10": float((errors <= np.log(1.1)).mean()),
        "within_25": float((errors <= np.log(1.25)).mean()),
    }


def divided(kernels: Sequence[Kernel], times_us: Vector, errors: Vector) -> dict[str, Any]:
    """Return the figures overall, of long kernels, without conversions and fused kernels, and by family."""
    families = np.array([family_of(kernel) for kernel in kernels])
    alone = np.array([kernel.op not in BOUNDARIES for kernel in kernels]) & (times_us > FUSED_US)
    parts = {
        "all": times_us > 0,
        f"longer than {LONG_US:g} us": times_us > LONG_US,
        f"operators not fused into others, longer than {LONG_US:g} us": alone & (times_us > LONG_US),
    }
    parts |= {str(family): families == family for family in np.unique(families)}
    return {name: figures(errors[part]) for name, part in parts.items() if part.any()}


def repeatability(rows: Sequence[Sampled]) -> dict[str, float]:
    """Return how far kernels that several networks have in common differ among them: no model can do better."""
    times: dict[str, list[float]] = {}
    for one in rows:
        times.setdefault(one.row.kernel, []).append(one.row.median_us)
    shared = [np.array(found) for found in times.values() if len(found) > 1 and np.median(found) > LONG_US]
    errors = [log_errors(np.full(len(found), np.median(found)), found) for found in shared]
    return figures(np.concatenate(errors)) if errors else {}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds that it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def transferred(here: Sequence[Sampled], other: Sequence[Sampled]) -> dict[str, Any]:
    """Return how well the model of another device and a few measurements predict the rest of this device."""
    model = fit([one.row for one in other], SEED)
    rows = {one.row.kernel: one.row for one in here if one.row.median_us > LONG_US}
    kernels = [kernel for key in rows if (kernel := parse(key)).op not in BOUNDARIES and model.covers(kernel)]
    few = choose(kernels, FEW)
    predicted = transfer(model.predict_us, [rows[kernel.key] for kernel in few])
    chosen = {kernel.key for kernel in few}
    rest = [kernel for kernel in kernels if kernel.key not in chosen]
    errors = log_errors(
        np.array([predicted.predict_us(kernel) for kernel in rest]),
        np.array([rows[kernel.key].median_us for kernel in rest]),
    )
    return {"measured": len(few), "stated_error": predicted.error, "rest": figures(errors)}


def main() -> None:
    """Measure or read, hold out, and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=Path, help="rows of an earlier run, instead of measuring")
    parser.add_argument("--keep", type=Path, help="where to keep the rows")
    parser.add_argument("--other", type=Path, help="rows of another device")
    options = parser.parse_args()
    rows = read_rows(options.rows) if options.rows else measured(options.minutes, options.threads)
    if options.keep:
        write_rows(options.keep, rows)
    single = unique(rows)
    kernels, times_us = [parse(one.row.kernel) for one in single], np.array([one.row.median_us for one in single])
    folds = {
        "by kernel": np.random.default_rng(SEED).permutation(len(kernels)) % FOLDS,
        "by network": np.array([one.network for one in single]) % FOLDS,
    }
    model, fit_s = timed(lambda: fit([one.row for one in single], SEED))
    many = (kernels * (1 + MANY // len(kernels)))[:MANY]
    _, predict_s = timed(lambda: model.regression.predict_us(many))
    content: dict[str, Any] = {
        "kernels": len(kernels),
        "networks": len({one.network for one in single}),
        "fit_s": fit_s,
        f"predict_{MANY}_s": predict_s,
        "json_mb": len(model.to_json()) / 1e6,
        "repeated in other networks": repeatability(rows),
        "model says of itself": {
            "held_out_error": model.held_out_error,
            "held_out_within_10": model.held_out_within_10,
            "held_out_within_25": model.held_out_within_25,
        },
    }
    for name, fold in folds.items():
        content[name] = divided(kernels, times_us, log_errors(held_out(kernels, times_us, fold), times_us))
    if options.other:
        content["transfer"] = transferred(single, read_rows(options.other))
    for name in folds:
        for part, found in content[name].items():
            shares = f"within 10 %: {100 * found['within_10']:5.1f} %, within 25 %: {100 * found['within_25']:5.1f} %"
            print(f"{name:11} {part:64} {found['kernels']:5.0f}, median {100 * found['median_error']:5.1f} %, {shares}")
    print(json.dumps({name: value for name, value in content.items() if name not in folds}, indent=2))
    print(save("learned_kernels", content))


if __name__ == "__main__":
    main()
