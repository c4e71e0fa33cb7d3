"""Gradients of the loss over some batches."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.workload import located, split_batch


def gather_gradients(
    module: nn.Module, batches: Iterable[Any], loss: Callable[[Any, Any], Tensor]
) -> dict[str, Tensor]:
    """Return the gradient of the loss with respect to every parameter, the mean over batches, by the parameter's path.

    The network computes as at inference, so BatchNorm normalises by its running statistics and dropout does nothing.

    Args:
        module: the network; it is not changed.
        batches: with targets, on the network's device.
        loss: of outputs and targets.

    Raises:
        InputError: there are no batches, one has no targets, or the loss is not one finite number with a gradient.
    """
    twin = copy.deepcopy(module).eval()
    for parameter in twin.parameters():
        parameter.grad = None
        parameter.requires_grad_(parameter.is_floating_point())
    count = 0
    for batch in batches:
        inputs, targets = split_batch(batch)
        if targets is None:
            raise InputError("Gradients need targets; give batches (inputs, targets).")
        with torch.enable_grad():
            outputs = twin(*inputs)
            try:
                value = loss(outputs, targets)
            except Exception as error:
                raise InputError(f"The loss failed on a batch: {located(error, None)}") from error
        _check(value)
        torch.autograd.backward(value)
        count += 1
    if count == 0:
        raise InputError("There are no batches to gather gradients from; give at least one.")
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad / count
        for name, parameter in twin.named_parameters(remove_duplicate=False)
    }


def _check(value: Any) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"The loss must be one number that depends on the outputs; found {found}.")
    if not bool(torch.isfinite(value)):
        raise InputError(f"The loss is {value.item():g} on a batch; look for NaN or infinity in the data.")
