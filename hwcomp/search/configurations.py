"""A configuration -> a network: fewer channels, statistics taken anew, trained with its true quantisers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hwcomp.calibration import RangeMethod, activation_ranges, observe
from hwcomp.compaction import compact
from hwcomp.default_passes import training_passes
from hwcomp.filter_splits import Built, built
from hwcomp.groups import Groups, width_groups
from hwcomp.program import Inputs, Program, run_passes
from hwcomp.quantizer import QuantParams
from hwcomp.search.joint_projection import Configuration
from hwcomp.search.recovery import Recovery
from hwcomp.search.shrink import best_channels
from hwcomp.space import Assignment
from hwcomp.sparsity import network_with_zeros
from hwcomp.supernet import learned_params, quantised, weights_to_source
from hwcomp.target import Target
from hwcomp.train import EpochRecord

RATE = 0.01
"""Learning rate of the training with true quantisers, if the user gives none."""


@dataclass(frozen=True, kw_only=True)
class Realised:
    """A network of one configuration, trained.

    Attributes:
        network: as traced, with fewer channels.
        assignment: site -> scheme, for the network after the default passes.
        params: tensor -> how it is stored as integers, learned in training.
        metric: on validation samples after the last epoch; None without them.
        history: what happened in each epoch.
    """

    network: Program
    assignment: Assignment
    params: Mapping[str, QuantParams]
    metric: float | None
    history: tuple[EpochRecord, ...]


@dataclass(frozen=True, kw_only=True)
class Realiser:
    """Makes networks of configurations.

    Attributes:
        network: with all channels, as traced.
        groups: of it.
        scores: group -> importance of its channels; the best ones stay.
        target: decides which operators are sites.
        inputs: for calibration.
        ranges: how activation ranges are chosen before they are learned.
        recovery: trains.
        multiple: channel counts that the target is fond of.
        weight_noise: share of the rounded weights that get noise in training, see `hwcomp.supernet.quantised`.
    """

    network: Program
    groups: Groups
    scores: Mapping[str, Tensor]
    target: Target
    inputs: tuple[Inputs, ...]
    ranges: RangeMethod
    recovery: Recovery
    multiple: int = 1
    weight_noise: float = 0.0

    def built(self, configuration: Configuration) -> Built:
        """Return the network of a configuration, untrained, with its zeros; its latency is that of the trained one."""
        scores = {group: self.scores[group] for group in configuration.widths if group in self.scores}
        kept = best_channels(scores, {group: configuration.widths[group] for group in scores})
        narrow = compact(self.network, self.groups, kept)
        left = {group: score[torch.tensor(kept[group])] for group, score in scores.items()}
        found = built(narrow, width_groups(narrow), left, configuration.assignment, self.multiple)
        return replace(found, network=network_with_zeros(found.network, found.assignment))

    def trained(self, configuration: Configuration, name: str, share: float, seed: int) -> Realised:
        """Return the network of a configuration after training with its true quantisers.

        Args:
            configuration: what was chosen.
            name: for reports and checkpoints.
            share: of the training that the user gave.
            seed: of the order of the data and everything random.
        """
        recovery = replace(self.recovery, seed=seed)
        network = self.built(configuration)
        source = recovery.recalibrated(network.network)
        joined = run_passes(source, training_passes(self.target))
        seen = observe(joined, self.inputs)
        params = activation_ranges(joined, seen, self.ranges, self.target.activation)
        fixed = quantised(
            joined, network.assignment, params, weight_bits=self.target.weight_bits, noise=self.weight_noise
        )
        goal = {**configuration.widths, "weight_noise": self.weight_noise}
        trained, history = recovery(fixed, name, share=share, rate=RATE, goal=goal)
        return Realised(
            network=weights_to_source(trained.module, fixed, source),
            assignment=network.assignment,
            params={**params, **learned_params(trained.module)},
            metric=history[-1].metric,
            history=history,
        )
