"""How fast hwcomp trains, and what its loop costs beyond a bare loop of PyTorch on the same batches."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from case import Setting
from clock import quantiles
from images import workload
from torch import nn

from hwcomp.train import Hooks, TrainConfig, TrainData, TrainState, task_objective, train

Source = Callable[[], Iterable[Any]]

FULL = 375
"""Steps of an epoch: 48,000 images in batches of 128."""


def run(setting: Setting, model: str) -> dict[str, Any]:
    """Return the speed with augmented images, and with batches that lie on the device already."""
    subject = workload(setting, model)
    assert subject.train_data is not None
    steps, epochs = (2, 2) if setting.rehearse else (100, 6)
    few: Source = lambda: islice(subject.train_data(), steps)  # noqa: E731
    ready = [(x.to(setting.device), y.to(setting.device)) for x, y in few()]
    length = {"device": setting.device, "steps": len(ready), "epochs": epochs}
    return {
        "images": _compared(subject.model, few, **length),
        "resident": _compared(subject.model, lambda: ready, **length),
    }


def _compared(model: nn.Module, source: Source, *, device: str, steps: int, epochs: int) -> dict[str, Any]:
    """Let epochs of both loops take turns: a hook of hwcomp's loop runs the bare one after each of its epochs."""
    seconds: dict[str, list[float]] = {"hwcomp": [], "bare": []}
    bare = _BareLoop(model, device, steps * epochs)

    def lap(name: str, start: float) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        seconds[name].append(time.perf_counter() - start)
        return time.perf_counter()

    begun = time.perf_counter()

    def turn(_: TrainState) -> None:
        nonlocal begun
        start = lap("hwcomp", begun)
        bare.epoch(source())
        begun = lap("bare", start)

    config = TrainConfig(epochs=epochs, precision="bf16")
    example = next(iter(source()))[0][:1].cpu()
    data = TrainData(batches=source, example_inputs=(example,), steps=steps)
    train(model, data, config, objective=task_objective(F.cross_entropy, None, config), hooks=Hooks(after_epoch=turn))
    kept = {name: values[1:] for name, values in seconds.items()}  # the first epoch warms up
    ratios = [own / other for own, other in zip(kept["hwcomp"], kept["bare"], strict=True)]
    per_epoch = {name: quantiles([FULL / steps * value for value in values]) for name, values in kept.items()}
    return {"epoch_s": per_epoch, "over_bare": quantiles(ratios), "steps": steps, "precision": "bf16"}


class _BareLoop:
    """What one would write by hand, with the same optimiser, schedule and precision."""

    def __init__(self, model: nn.Module, device: str, steps: int) -> None:
        import copy

        self._device, self._model = device, copy.deepcopy(model).to(device).train()
        self._optimiser = torch.optim.SGD(
            self._model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimiser, steps)
        self._moved = partial(torch.Tensor.to, device=device, non_blocking=True)

    def epoch(self, batches: Iterable[Any]) -> None:
        """Train on every batch once."""
        for x, y in batches:
            self._optimiser.zero_grad()
            with torch.autocast(self._device, torch.bfloat16):
                loss = F.cross_entropy(self._model(self._moved(x)), self._moved(y))
            loss.backward()
            self._optimiser.step()
            self._schedule.step()
