"""One step: objective, gradients, optimiser, moving average."""

from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.nn.utils import clip_grad_norm_

from hwcomp.errors import InputError
from hwcomp.train.config import TrainConfig
from hwcomp.train.feed import Batch
from hwcomp.train.objective import Objective
from hwcomp.train.optimisers import parameters_of
from hwcomp.train.processes import Processes
from hwcomp.train.weights import Weights

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def make_scaler(config: TrainConfig, device: torch.device) -> GradScaler:
    """Return the scaler of losses that fp16 needs; for other precisions it does nothing."""
    return GradScaler(device.type, enabled=config.precision == "fp16")


class Stepper:
    """Makes steps of an optimiser on an objective."""

    def __init__(self, config: TrainConfig, objective: Objective, weights: Weights, processes: Processes) -> None:
        self._config, self._objective = config, objective
        self._weights, self._processes = weights, processes
        self._parameters = parameters_of(weights.optimiser)
        self._rates = [float(group["lr"]) for group in weights.optimiser.param_groups]

    def step(self, batch: Batch, factor: float) -> Tensor:
        """Make one step at the optimiser's own rates times a factor.

        Returns:
            the objective on this process's samples, times their share of the batch; without gradient.

        Raises:
            InputError: the objective is not one number with a gradient.
        """
        weights, optimiser = self._weights, self._weights.optimiser
        mine, share = self._processes.share(batch)
        for group, rate in zip(optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        optimiser.zero_grad()
        with torch.autocast(
            self._processes.device.type, DTYPES.get(self._config.precision), enabled=self._config.precision != "no"
        ):
            loss = _checked(self._objective(weights.model, mine.inputs, mine.targets))
        loss = loss if share == 1 else loss * share
        torch.autograd.backward(weights.scaler.scale(loss))
        self._processes.sum_gradients(self._parameters)
        if self._config.clip is not None:
            weights.scaler.unscale_(optimiser)
            clip_grad_norm_(self._parameters, self._config.clip)
        weights.scaler.step(optimiser)
        weights.scaler.update()
        weights.stepped()
        return loss.detach()

    def rate(self, factor: float) -> float:
        """Return the learning rate of the first group of parameters at a factor."""
        return self._rates[0] * factor


def _checked(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        found = type(loss).__name__
        if isinstance(loss, Tensor):
            found = f"shape {tuple(loss.shape)}, {'with' if loss.requires_grad else 'without'} gradient"
        raise InputError(
            f"The objective must return one number with a gradient, as a tensor without axes; found {found}."
        )
    return loss
