"""Gradual magnitude pruning: ever fewer of the largest weights are kept while the network trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.search.sparsify import CLIP, RATE, Masked, Sparsified, Sparsify
from hwcomp.sparsity import density_at
from hwcomp.train import Hooks, TrainState

METHOD = "magnitude_pruning"

RAMP = 0.7
"""Share of the training in which the density falls; in the rest the masks stay."""

RENEWALS = 40
"""How many times the masks are made anew while the density falls."""


def magnitude_pruning(sparsify: Sparsify, *, ramp: float = RAMP) -> Sparsified:
    """Return the network after training with masks of its largest weights, at the density of `density_at`.

    A weight that is left out keeps its value and comes back if the others become smaller. Source: [Zhu2017]_, To prune,
    or not to prune: exploring the efficacy of pruning for model compression.

    Args:
        sparsify: the network, which may be trained or not, and what is asked of it.
        ramp: share of the training in which the density falls, above 0 and at most 1.

    Raises:
        InputError: the ramp is out of its range, a site cannot be sparse, or there is no training data.
    """
    if not 0 < ramp <= 1:
        raise InputError(f"The density falls in a share of the training, above 0 and at most 1; found {ramp:g}.")
    masked, recovery = sparsify.masked(), sparsify.recovery
    falling = _Falling(masked=masked, final=sparsify.sparse.density, ramp=ramp)
    for _, operator in masked.operators(masked.program.module):
        operator.renew_by_magnitude(density_at(0.0, falling.final))
    trained, history = recovery.run(
        masked.program,
        METHOD,
        recovery.config(rate=RATE, clip=CLIP),
        goal={**sparsify.goal, "ramp": ramp},
        hooks=Hooks(
            after_step=falling.after_step,
            after_epoch=falling.after_epoch,
            save=falling.save,
            restore=falling.restore,
            watch=falling.watch,
        ),
    )
    falling.prune([trained.module], 1.0)  # time that ran out early, or an only epoch of unknown length
    return masked.sparsified(trained, history)


@dataclass(kw_only=True, slots=True)
class _Falling:
    """Renews masks as the density falls.

    Attributes:
        masked: tells where the masks are.
        final: density in the end.
        ramp: share of the training in which the density falls.
        density: of the masks now; a tensor, for checkpoints.
    """

    masked: Masked
    final: float
    ramp: float
    density: Tensor = field(default_factory=lambda: torch.ones((), dtype=torch.float64))

    def after_step(self, state: TrainState) -> None:
        self.prune(state.models, state.progress)

    def after_epoch(self, state: TrainState) -> None:
        """Look at the epochs too: of data without a length nothing else is known in the first one."""
        self.prune(state.models, max(state.progress, state.epoch / state.epochs if state.epochs else 0.0))

    def prune(self, models: Sequence[nn.Module], done: float) -> None:
        """Make the masks anew where the density has fallen since the last time; all models get those of the first."""
        step = min(int(done / self.ramp * RENEWALS), RENEWALS)
        density = density_at(step / RENEWALS, self.final)
        if density >= float(self.density):
            return
        self.density.fill_(density)
        operators = [[operator for _, operator in self.masked.operators(model)] for model in models]
        for first, *others in zip(*operators, strict=True):
            first.renew_by_magnitude(density)
            for other in others:
                other.mask.copy_(first.mask)

    def save(self) -> Mapping[str, Tensor]:
        return {"density": self.density}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.density.copy_(tensors["density"])

    def watch(self, state: TrainState) -> Mapping[str, float]:  # noqa: ARG002 - what a hook is called with
        return {"density": float(self.density)}
