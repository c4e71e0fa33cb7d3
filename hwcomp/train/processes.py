"""One process or several, as ``accelerate launch`` or ``torchrun`` started them: who has which samples, and agreement.

Every process reads all batches and takes its share of the samples of each, so the batch that counts is the one that
the user gave, however many processes there are. Gradients are summed by hand, with the samples as weights: unlike
``DistributedDataParallel`` that allows objectives that run the network several times, or parts of it.
"""

import atexit
import contextlib
import os
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.train.feed import Batch

T = TypeVar("T")

LEAVING_S = 5.0
"""How long a process waits at its end for the others."""


class Processes:
    """The processes of this training, and the device of this one.

    Attributes:
        device: where this process computes.
        rank: its number.
        count: how many there are.
    """

    def __init__(self) -> None:
        from accelerate import PartialState  # noqa: PLC0415 - a compilation that trains nothing does not wait for it

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # accelerate tells of the threads that it chooses
            self._state = state = PartialState(cpu=_only_cpu())
        if dist.is_initialized() and dist.get_backend() == "gloo":
            atexit.unregister(_leave)
            atexit.register(_leave)
        self.device: torch.device = state.device
        self.rank: int = state.process_index
        self.count: int = state.num_processes

    @property
    def main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def share(self, batch: Batch) -> tuple[Batch, float]:
        """Return this process's samples of a batch on its device, and their share; it may be 0."""
        size = batch.size
        start, stop = self.rank * size // self.count, (self.rank + 1) * size // self.count
        if start == stop:  # it computes along, with weight 0
            start, stop, weight = 0, size, 0.0
        else:
            weight = (stop - start) / size
        if stop - start < size:
            batch = Batch(
                inputs=tuple(x[start:stop] for x in batch.inputs), targets=_cut(batch.targets, start, stop, size)
            )
        return self.moved(batch), weight

    def moved(self, batch: Batch) -> Batch:
        """Return a batch on the device of this process."""
        return Batch(inputs=_moved(batch.inputs, self.device), targets=_moved(batch.targets, self.device))

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace the gradients by their sum over the processes."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        start = 0
        for parameter in parameters:
            part, start = flat[start : start + parameter.numel()], start + parameter.numel()
            if parameter.grad is not None:
                parameter.grad.copy_(part.view_as(parameter))

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes."""
        if self.count == 1:
            return values
        there = values.to(self.device)
        dist.all_reduce(there)
        return there

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the means of tensors over the processes; the same shapes in all of them."""
        if self.count == 1 or not tensors:
            return list(tensors)
        flat = self.summed(torch.cat([tensor.reshape(-1) for tensor in tensors])) / self.count
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def agreed(self, value: T) -> T:
        """Return the main process's value in all of them."""
        if self.count == 1:
            return value
        values: list[Any] = [value]
        dist.broadcast_object_list(values, src=0)
        agreed: T = values[0]
        return agreed

    def all_have(self, thing: object | None) -> bool:
        """Return whether every process has something, not None."""
        return float(self.summed(torch.tensor([float(thing is not None)]))) == self.count

    def wait(self) -> None:
        """Wait until every process is here: the main one's files are written then."""
        self._state.wait_for_everyone()

    def equalise(self, model: nn.Module) -> None:
        """Give every process the main one's parameters and buffers."""
        if self.count > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor.detach(), 0)

    def average_buffers(self, models: Sequence[nn.Module]) -> None:
        """Average what each process gathered from its own samples: running statistics."""
        if self.count > 1:
            for buffer in (buffer for model in models for buffer in model.buffers()):
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer.div_(self.count)


def _leave() -> None:
    """Close gloo's connections before the interpreter ends: its threads abort a process that others leave first.

    So they leave together, unless others do not come.
    """
    if dist.is_initialized():
        with contextlib.suppress(RuntimeError):  # one of them is gone, or has other things to do
            dist.monitored_barrier(timeout=timedelta(seconds=LEAVING_S))
        dist.destroy_process_group()


def _only_cpu() -> bool:
    """Return whether processes have to talk over the CPU; accelerate must be told, or takes each for the only one."""
    wanted = os.environ.get("ACCELERATE_USE_CPU", "").lower() in {"1", "true", "yes"}
    return wanted or ("LOCAL_RANK" in os.environ and not torch.accelerator.is_available())


def _cut(targets: Any, start: int, stop: int, size: int) -> Any:
    """Cut every part of targets, each of which has one entry for each sample."""
    if isinstance(targets, Tensor) and (targets.ndim == 0 or targets.shape[0] == size):
        return targets[start:stop] if targets.ndim else targets
    if isinstance(targets, dict):
        return {name: _cut(item, start, stop, size) for name, item in targets.items()}
    if isinstance(targets, list) and len(targets) == size:
        return targets[start:stop]
    if type(targets) in {tuple, list}:
        return type(targets)(_cut(item, start, stop, size) for item in targets)
    if targets is None or isinstance(targets, (int, float, str)):
        return targets
    found = f"shape {tuple(targets.shape)}" if isinstance(targets, Tensor) else type(targets).__name__
    raise InputError(
        f"Targets of {size} samples cannot be shared by processes; found {found}: give one entry for each sample, or "
        "train in one process."
    )


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: _moved(item, device) for name, item in value.items()}
    if type(value) in {tuple, list}:
        return type(value)(_moved(item, device) for item in value)
    return value
