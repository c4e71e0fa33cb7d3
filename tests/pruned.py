"""What tests of compaction share: random masks, and the comparison of a compact program with a masked one."""

import copy
import random

import torch
from networks import alive
from torch import nn

from hwcomp.compaction import compact, masked
from hwcomp.groups import Groups
from hwcomp.program import Program
from hwcomp.tracing import trace


def traced(model: nn.Module, shape: tuple[int, ...]) -> Program:
    """Trace in double precision, so that what differs is not rounding."""
    return trace(alive(model).double(), (torch.randn(shape, dtype=torch.float64),))


def random_mask(groups: Groups, generator: random.Random) -> dict[str, list[int]]:
    """Keep a random part of most groups."""
    kept = {}
    for group in groups.groups:
        if generator.random() < 0.8:
            count = generator.randint(1, group.channels)
            kept[group.name] = sorted(generator.sample(range(group.channels), count))
    return kept


def check_equal(program: Program, groups: Groups, kept: dict[str, list[int]]) -> Program:
    """Compare in eval and in train mode, where BatchNorm uses the statistics of the batch."""
    small, same = compact(program, groups, kept), masked(program, groups, kept)
    for training in (False, True):
        results = []
        for module in (copy.deepcopy(small.module), copy.deepcopy(same.module)):
            module.train(training)
            for part in module.modules():
                if isinstance(part, nn.Dropout):
                    part.eval()
            with torch.no_grad():
                results.append(module(*program.example_inputs))
        scale = results[1].abs().max()
        assert (results[0] - results[1]).abs().max() <= 1e-8 * scale, (training, kept)
    return small


def size(program: Program) -> int:
    return sum(parameter.numel() for parameter in program.module.parameters())
