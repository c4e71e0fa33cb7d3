"""What a bundle runs: steps, and the cases that each consists of."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

STEPS = ("facts", "correct", "latency", "launch", "speed", "tests", "product", "compiled", "training")
"""The most important first."""

NEEDS = {
    "facts": (),
    "correct": ("torch", "numpy", "safetensors"),
    "latency": ("torch", "numpy", "safetensors"),
    "launch": ("torch", "numpy"),
    "compiled": ("torch", "numpy", "safetensors", "triton"),
    "speed": ("torch", "accelerate", "pydantic", "networkx", "rich", "PIL"),
    "tests": ("torch", "pytest", "pydantic", "accelerate"),
    "product": ("torch", "onnxruntime", "onnx", "onnxscript", "onnx_ir", "typer", "pydantic", "networkx", "scipy"),
    "training": ("torch", "accelerate", "pydantic", "networkx", "rich", "PIL", "onnxscript", "onnx_ir", "onnxruntime"),
}
"""Step -> modules that it cannot do without."""

PRUNED = ("asymptotic_soft_filter_pruning", "uniform_pruning, l1", "small from scratch", "dense, as much training",
          "soft_filter_pruning", "uniform_pruning, random")  # fmt: skip
SPARSE = ((1, 0.1), (4, 0.1), (1, 0.05))
"""Filters in a block of weights that are zero together, and the share of weights that is left."""

EPOCHS, STEPS_PER_EPOCH, SEEDS = 200, 375, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One result.

    Attributes:
        step: that it belongs to.
        name: of its file, without suffix.
        options: of the step's function.
        least_s: it is not begun with less time than this left.
        together: whether others may run beside it.
    """

    step: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    least_s: float = 20.0
    together: bool = False


@cache
def bundle() -> dict[str, Any]:
    """Return what the builder wrote down."""
    found: dict[str, Any] = json.loads((ROOT / "bundle.json").read_text())
    return found


def all_cases(*, rehearse: bool) -> list[Case]:
    """Return every case, in the order in which they run."""
    return [case for step in STEPS for case in _of(step, rehearse=rehearse)]


def _of(step: str, *, rehearse: bool) -> Iterator[Case]:
    device = "cpu" if rehearse else "cuda"
    libraries = [one for one in bundle()["libraries"] if one["device"] == device]
    if step in ("facts", "launch", "tests"):
        yield Case(step=step, name=step, least_s=60.0 if step == "tests" else 10.0)
    elif step == "correct":
        for network in dict.fromkeys(one["network"] for one in libraries):
            yield Case(step=step, name=f"correct-{network}", options={"network": network})
    elif step in ("latency", "compiled"):
        for network, batch in dict.fromkeys((one["network"], one["batch"]) for one in libraries):
            options = {"network": network, "batch": batch}
            yield Case(step=step, name=f"{step}-{network}-b{batch}", options=options, least_s=20.0)
    elif step == "product":
        yield from _commands(dict.fromkeys((one["network"], one["batch"]) for one in libraries))
    elif step == "speed":
        for model in ("resnet20",) if rehearse else ("resnet20", "resnet56"):
            yield Case(step=step, name=f"speed-{model}", options={"model": model})
    else:
        yield from _schedules(rehearse=rehearse)


def _commands(networks: Iterable[tuple[str, int]]) -> Iterator[Case]:
    """Give what a user would run: a general profile, then for each network and batch its profile and a compilation."""
    yield Case(step="product", name="product-table", options={"kind": "table"}, least_s=60.0)
    for network, batch in networks:
        for kind in ("profile", "compile"):
            options = {"kind": kind, "network": network, "batch": batch}
            yield Case(step="product", name=f"product-{kind}-{network}-b{batch}", options=options, least_s=30.0)


def _schedules(*, rehearse: bool) -> Iterator[Case]:
    """Give full trainings: a network's seeds come after one another, so that early ends leave whole rows."""
    models, seeds = (("resnet20",), 1) if rehearse else (("resnet20", "resnet56"), SEEDS)
    length = {"epochs": 1, "steps": 2} if rehearse else {"epochs": EPOCHS, "steps": STEPS_PER_EPOCH}
    for model in models:
        for seed in range(seeds):
            for number, method in enumerate(PRUNED[: 1 if rehearse else None]):
                options = {"kind": "pruning", "model": model, "method": method, "seed": seed, **length}
                yield _training(f"pruning{number}-{model}-{seed}", options)
            for rows, density in SPARSE[: 1 if rehearse else None]:
                options = {"kind": "sparse", "model": model, "rows": rows, "density": density, "seed": seed, **length}
                yield _training(f"sparse-{rows}x1-{density}-{model}-{seed}", options)


def _training(name: str, options: dict[str, Any]) -> Case:
    return Case(step="training", name=f"training-{name}", options=options, least_s=30.0, together=True)
