"""What the training loop costs beyond a bare PyTorch loop: ResNet-20 on images of 32x32 pixels, batches of 128.

    python benchmarks/training.py

The loop asks its data for a batch after every step; that data makes a bare step, on a network of its own, before it
gives one. So steps of both kinds take turns, and the claim is the median of the ratios of neighbours. A second bare
step in every turn says how far such a ratio is from 1 by chance.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from common import ROOT, save
from torch import Tensor, nn

from hwcomp.train import TrainConfig, TrainData, task_objective, train
from hwcomp.workload import load_workload

BATCH = 128
WARM_UP = 5


def network() -> nn.Module:
    """Return the example's ResNet-20."""
    return load_workload(str(ROOT / "examples" / "cifar10" / "model.py")).model


def bare_stepper(model: nn.Module, steps: int) -> Callable[[Tensor, Tensor], None]:
    """Return a step of PyTorch alone, with the same optimiser and schedule."""
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    def step(x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
        schedule.step()

    return step


def measure(steps: int) -> dict[str, list[float]]:
    """Return the seconds of every step of the loop, of the bare one, and of the other bare one."""
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(0, 10, (BATCH,))
    seconds: dict[str, list[float]] = {"hwcomp": [], "bare": [], "control": []}
    steppers = {"bare": bare_stepper(network(), steps), "control": bare_stepper(network(), steps)}

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(steps):
            for name, step in steppers.items():
                start = time.perf_counter()
                step(x, y)
                seconds[name].append(time.perf_counter() - start)
            start = time.perf_counter()
            yield x, y
            seconds["hwcomp"].append(time.perf_counter() - start)

    config = TrainConfig(epochs=1, checkpoint_s=10)
    data = TrainData(batches=batches, example_inputs=(x[:1],), steps=steps + 1)
    with tempfile.TemporaryDirectory() as folder:
        objective = task_objective(F.cross_entropy, None, config)
        train(network(), data, config, objective=objective, checkpoint=Path(folder) / "checkpoint")
    return seconds


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = {name: times[WARM_UP:] for name, times in measure(options.steps).items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(seconds[name], seconds["bare"], strict=True))
        for name in ("hwcomp", "control")
    }
    bare_ms = 1e3 * statistics.median(seconds["bare"])
    save(
        "training",
        {
            "network": "ResNet-20",
            "batch": BATCH,
            "threads": options.threads,
            "steps": len(seconds["bare"]),
            "bare_step_ms": bare_ms,
            "ratio": ratios["hwcomp"],
            "control_ratio": ratios["control"],
        },
    )
    print(
        f"a bare step takes {bare_ms:.0f} ms; a step of the loop {100 * (ratios['hwcomp'] - 1):+.1f} % of that, "
        f"another bare step {100 * (ratios['control'] - 1):+.1f} %"
    )


if __name__ == "__main__":
    main()
