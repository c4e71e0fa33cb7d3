"""Programs of the same graph with other weights."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from hwcomp.program import Program, with_shapes


def replaced(network: Program, module: nn.Module) -> Program:
    """Return a program with another module of the same graph."""
    assert isinstance(module, torch.fx.GraphModule)
    return with_shapes(replace(network, module=module.eval()))


def fresh(network: Program, seed: int) -> Program:
    """Return a network with new random weights, as its layers draw them."""
    module = deepcopy(network.module)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in module.modules():
            draw: Callable[[], None] | None = getattr(layer, "reset_parameters", None)
            if draw is not None:
                draw()
    return replaced(network, module)
