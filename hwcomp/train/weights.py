"""All that a step changes: the network, its moving average and the optimiser; copied, put back, looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hwcomp.train.hooks import Hooks
from hwcomp.train.optimisers import put_together, take_apart


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A copy of all that a step changes: tensors on the CPU, and plain values as JSON takes them."""

    tensors: Mapping[str, Tensor]
    plain: Mapping[str, Any]


class Weights:
    """A network in training.

    Attributes:
        model: it.
        average: the moving average of its weights and buffers, or None.
        optimiser: of its parameters.
        scaler: of the loss, for fp16; it does nothing for other precisions.
    """

    def __init__(
        self, model: nn.Module, optimiser: Optimizer, ema: float | None, scaler: GradScaler, hooks: Hooks
    ) -> None:
        self.model, self.optimiser, self.scaler, self._hooks = model, optimiser, scaler, hooks
        self._average = None if ema is None else AveragedModel(model, multi_avg_fn=_averaging(ema), use_buffers=True)
        self._watched = [name for name, x in named_tensors(model).items() if _finite([x])]

    @property
    def average(self) -> nn.Module | None:
        """The network with averaged weights, or None."""
        return None if self._average is None else self._average.module

    @property
    def result(self) -> nn.Module:
        """The network that is validated and given back."""
        return self.model if self.average is None else self.average

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """The network and its average, if it has one."""
        return (self.model,) if self.average is None else (self.model, self.average)

    def stepped(self) -> None:
        """Take the new weights into the average."""
        if self._average is not None:
            self._average.update_parameters(self.model)

    def finite(self) -> bool:
        """Return whether all parameters and buffers are finite that were so at the start."""
        named = named_tensors(self.model)
        return _finite([named[name] for name in self._watched])

    def snapshot(self) -> Snapshot:
        """Return a copy of everything."""
        tensors, plain = take_apart(self.optimiser)
        parts = {f"optimiser.{name}": x for name, x in tensors.items()}
        parts |= {f"model.{name}": x for name, x in named_tensors(self.model).items()}
        parts |= {f"hooks.{name}": x for name, x in self._hooks.save().items()}
        if self._average is not None:
            parts |= {f"average.{name}": x for name, x in named_tensors(self._average).items()}
        return Snapshot(tensors=copied(parts), plain={"optimiser": plain, "scaler": self.scaler.state_dict()})

    def restore(self, snapshot: Snapshot) -> None:
        """Put everything back as it was when the snapshot was made."""
        put_back(self.model, under(snapshot.tensors, "model."))
        if self._average is not None:
            put_back(self._average, under(snapshot.tensors, "average."))
        self._hooks.restore(under(snapshot.tensors, "hooks."))
        put_together(self.optimiser, under(snapshot.tensors, "optimiser."), snapshot.plain["optimiser"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(snapshot.plain["scaler"]))


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, those that are kept out of state dicts too, each once."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU that share no memory."""
    return {name: x.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for name, x in tensors.items()}


def put_back(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Write copies into the parameters and buffers that they were made of."""
    with torch.no_grad():
        for name, x in named_tensors(model).items():
            x.copy_(tensors[name])


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, named without it."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def _averaging(decay: float) -> Any:
    """Return what a moving average does with two lists of tensors."""
    make: Any = get_ema_multi_avg_fn
    return make(decay)


def _finite(tensors: list[Tensor]) -> bool:
    floats = [x.detach() for x in tensors if x.is_floating_point() and x.numel()]
    return not floats or bool(torch.isfinite(get_total_norm(floats)))
