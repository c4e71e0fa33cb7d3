"""Optimisers: which parameters decay, and how their state is taken apart for checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from hwcomp.errors import InputError
from hwcomp.train.config import TrainConfig

OptimiserFactory = Callable[[nn.Module], Optimizer]


def make_optimiser(model: nn.Module, config: TrainConfig) -> Optimizer:
    """Return the optimiser of a model; parameters of one axis (biases, normalisation) do not decay unless asked to.

    Raises:
        InputError: no parameter of the model can be trained.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise InputError("The model has no parameter that can be trained; set requires_grad on some.")
    decayed = [p for p in parameters if config.decay_all or p.ndim > 1]
    rest = [p for p in parameters if not (config.decay_all or p.ndim > 1)]
    groups = [
        {"params": members, "weight_decay": decay}
        for members, decay in ((decayed, config.weight_decay), (rest, 0.0))
        if members
    ]
    if config.optimiser == "adamw":
        return AdamW(groups, lr=config.rate)
    return SGD(groups, lr=config.rate, momentum=config.momentum, nesterov=config.momentum > 0)


def parameters_of(optimiser: Optimizer) -> list[Tensor]:
    """Return the parameters that an optimiser changes, in its order."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def take_apart(optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimiser's state as tensors and plain values, both named ``INDEX.NAME``."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            (tensors if isinstance(value, Tensor) else plain)[f"{index}.{name}"] = value
    return tensors, plain


def put_together(optimiser: Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Give an optimiser the state that `take_apart` returned; the tensors are copied."""
    parameters = parameters_of(optimiser)
    state: dict[int, dict[str, Any]] = {}
    for name, value in (*tensors.items(), *plain.items()):
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = (
            _like(parameters[int(index)], value) if isinstance(value, Tensor) else value
        )
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a copy that lies in memory as the parameter does, if it has its shape."""
    if parameter.shape != value.shape:
        return value.clone()
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
