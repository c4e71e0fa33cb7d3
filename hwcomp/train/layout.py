"""How the weights of convolutions lie in memory while a network is trained.

Convolutions in bfloat16 on a CPU are fastest where the channels of a pixel lie side by side (channels last). Weights
that lie so are enough: the first convolution gives its output in their layout, and what follows keeps it.
"""

from collections.abc import Iterator

import torch
from torch import fx, nn

from hwcomp.program import Inputs
from hwcomp.train.config import TrainConfig


def lay_out_for_training(model: nn.Module, config: TrainConfig, device: torch.device, example: Inputs) -> None:
    """Put the channels of a network's weights last, in place, if it trains faster so.

    Args:
        model: on its device.
        config: of the training.
        device: of the model.
        example: inputs, to see whether it runs: `Tensor.view` of the output of a convolution needs the usual layout.
    """
    if device.type == "cpu" and config.precision == "bf16":
        _lay_out(model, torch.channels_last)
        if not _runs(model, example):
            lay_out_as_usual(model)


def lay_out_as_usual(model: nn.Module) -> None:
    """Put the weights of convolutions in the layout in which PyTorch makes them, in place."""
    _lay_out(model, torch.contiguous_format)


def _lay_out(model: nn.Module, layout: torch.memory_format) -> None:
    for weight in _convolutions(model):
        weight.data = weight.detach().clone(memory_format=layout)


def _convolutions(model: nn.Module) -> Iterator[nn.Parameter]:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            yield from (parameter for parameter in module.parameters(recurse=False) if parameter.ndim == 4)


def _runs(model: nn.Module, example: Inputs) -> bool:
    was_training = model.training
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            model.eval()(*_of_one_batch(model, example))
    except (RuntimeError, ValueError, TypeError, IndexError):  # what else is wrong with it is told at the first step
        return False
    finally:
        model.train(was_training)
    return True


def _of_one_batch(model: nn.Module, example: Inputs) -> Inputs:
    """Return as many inputs as a traced network takes: an objective may be given several batches in one."""
    if not isinstance(model, fx.GraphModule):
        return example
    return example[: sum(node.op == "placeholder" for node in model.graph.nodes)]
