"""Training with filters that are set to zero again and again: what soft pruning by groups and by layers share."""

from collections.abc import Callable
from copy import deepcopy

from torch import nn

from hwcomp.config import Shrinking
from hwcomp.program import Program
from hwcomp.search.same_graph import fresh, replaced
from hwcomp.search.shrink import Shrink
from hwcomp.train import EpochRecord, Hooks, TrainState
from hwcomp.width_law import Widths

SCRATCH_RATE, PRETRAINED_RATE = 0.1, 0.01
"""Learning rates: from a trained start a tenth, as in the experiments of [He2018]_."""

CLIP = 5.0
"""Largest norm of all gradients together.

Behind a filter that is zero, BatchNorm divides by next to nothing: by the square root of its epsilon, which makes the
gradient hundreds of times larger than that of other filters. Without a limit the filter grows past all the others in a
few steps, is kept in the next epoch, and a trained one becomes zero in its place, again and again.
"""

Zero = Callable[[nn.Module, float], None]
"""Sets filters of a network to zero, in place, after a share of the training."""


def train_with_zeros(
    shrink: Shrink, method: str, zero: Zero, *, goal: Widths | None = None, share: float = 1.0
) -> tuple[Program, tuple[EpochRecord, ...]]:
    """Return the network after training with ``zero`` before the first epoch and after each.

    Args:
        shrink: the network, or where its options say so its graph with fresh weights.
        method: for reports and checkpoints.
        zero: is also told of the moving average, if there is one.
        goal: widths that ``zero`` works towards; without, ``method`` and the options must tell.
        share: of the epochs or minutes that the user gave; if a training follows, the learning rate falls in that one.

    Raises:
        InputError: there is no training data, or it cannot be used.
    """
    start = fresh(shrink.network, shrink.recovery.seed) if shrink.options.from_scratch else shrink.network
    module = deepcopy(start.module)
    zero(module, 0.0)

    def after_epoch(state: TrainState) -> None:
        done = state.epoch / state.epochs if state.epochs else state.progress
        for one in state.models:
            zero(one, min(done, 1.0))

    config = shrink.recovery.config(
        share,
        learning_rate(shrink.options),
        clip=CLIP,
        decay_all=True,
        schedule="cosine" if share == 1 else "constant",
    )
    hooks = Hooks(after_epoch=after_epoch)
    return shrink.recovery.run(replaced(start, module), method, config, goal=goal, hooks=hooks)


def learning_rate(options: Shrinking) -> float:
    """Return the rate that a start takes, trained or fresh, if the user gave none."""
    return SCRATCH_RATE if options.from_scratch else PRETRAINED_RATE
