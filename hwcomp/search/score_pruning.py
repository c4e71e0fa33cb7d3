"""Score pruning: first the network learns which of its weights to keep, then it trains those."""

from copy import deepcopy
from dataclasses import replace

from hwcomp.errors import InputError
from hwcomp.program import Program
from hwcomp.search.same_graph import replaced
from hwcomp.search.shrunk import joined
from hwcomp.search.sparsify import CLIP, RATE, Masked, Sparsified, Sparsify
from hwcomp.train import TrainConfig

METHOD = "score_pruning"

SCORES_SHARE = 0.5
"""Share of the training in which the scores learn."""

SCORE_RATE = 10.0
"""Learning rate of the scores by that of the weights: a score's gradient is that of its weight, times the weight."""


def score_pruning(sparsify: Sparsify, *, share: float = SCORES_SHARE) -> Sparsified:
    """Return a network after its scores have learned with all weights frozen, then its weights with fixed masks.

    Source: [Mou2023]_, DASS: differentiable architecture search for sparse neural networks; the phases without the
    search.

    Args:
        sparsify: the network, trained, and what is asked of it.
        share: of the training in which the scores learn, above 0 and below 1.

    Raises:
        InputError: the share is out of its range, a site cannot be sparse, or there is no training data.
    """
    if not 0 < share < 1:
        raise InputError(f"Scores learn in a share of the training, above 0 and below 1; found {share:g}.")
    masked, recovery = sparsify.masked(), sparsify.recovery
    first = recovery.config(share, RATE, clip=CLIP)
    second = recovery.config(1 - share, RATE, clip=CLIP)
    if first.epochs is not None:
        second = replace(second, epochs=max(1, recovery.epochs - first.epochs))
    goal = {**sparsify.goal, "share": share}
    scored, before = recovery.run(_learning_scores(masked), f"{METHOD}, scores", _faster(first), goal=goal)
    trained, after = recovery.run(_learning_weights(masked, scored), f"{METHOD}, weights", second, goal=goal)
    return masked.sparsified(trained, joined(before, after))


def _faster(config: TrainConfig) -> TrainConfig:
    return replace(config, rate=SCORE_RATE * config.rate)


def _learning_scores(masked: Masked) -> Program:
    """Return a copy in which nothing but scores is trained; statistics of BatchNorm follow."""
    module = deepcopy(masked.program.module).requires_grad_(requires_grad=False)
    for _, operator in masked.operators(module):
        operator.learn("scores")
    return replaced(masked.program, module)


def _learning_weights(masked: Masked, scored: Program) -> Program:
    """Return a copy with the masks of the scores, in which is trained what was trained before."""
    module = deepcopy(masked.program.module)
    module.load_state_dict(scored.module.state_dict())
    for _, operator in masked.operators(module):
        operator.renew()
    return replaced(masked.program, module)
