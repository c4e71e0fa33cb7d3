"""Learns the choices while the training loop learns the weights: one Adam for all logits, one multiplier."""

from collections.abc import Mapping
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from hwcomp.console import Reporter
from hwcomp.search.records import SearchRecord
from hwcomp.search.relaxation import Relaxation, expected_us, probabilities
from hwcomp.supernet import logits_of, weight_parameters
from hwcomp.train import Hooks, TrainConfig, TrainState
from hwcomp.train.optimisers import OptimiserFactory, put_together, take_apart
from hwcomp.train.processes import Processes

BETAS = (0.5, 0.999)
"""Of Adam, as [Liu2019]_ has them for the logits."""

AHEAD = 4
"""Steps by which the latency term looks ahead.

A multiplier that rises until the budget is reached is too high by then, and a short search has no time to lower it. So
it is told where the expected latency will be if it goes on as in the last step; where that hardly moves, as in a long
search, this changes nothing.
"""


class Architect:
    """Takes part in the training loop by hooks: a step for the logits after each step for the weights.

    The logits are parameters of the network that the loop trains, at a rate of zero; so their gradients are summed over
    processes and they are in its checkpoints. Adam's own state and the multiplier are saved beside them.

    Attributes:
        records: one for each epoch that is done.
    """

    def __init__(self, relaxation: Relaxation, rate: float, reporter: Reporter) -> None:
        self._relaxation, self._rate, self._reporter = relaxation, rate, reporter
        self._processes = Processes()
        self._adam: Adam | None = None
        self._kept: Mapping[str, Tensor] = {}
        self.records: list[SearchRecord] = []

    @property
    def hooks(self) -> Hooks:
        """What the training loop calls."""
        return Hooks(
            after_step=self._step, after_epoch=self._epoch, save=self._save, restore=self._restore, watch=self._watch
        )

    def _step(self, state: TrainState) -> None:
        relaxation, clock = self._relaxation, self._relaxation.clock
        if relaxation.has_begun:
            before = self._ratio(state.model)
            self._step_choices(state.model, clock.gradients)
            ratio = self._ratio(state.model)
            relaxation.term.update(ratio + AHEAD * (ratio - before), state.progress - clock.progress)
        clock.progress, clock.step, clock.rate = state.progress, state.step, state.rate

    def _step_choices(self, model: nn.Module, gradients: Mapping[str, Tensor]) -> None:
        logits = logits_of(model)
        before = {name: tensor.detach().clone() for name, tensor in logits.items()}
        self._optimiser(model).step()
        after = self._relaxation.estimator.stepped(before, logits, self._shared(gradients))
        with torch.no_grad():
            for name, tensor in logits.items():
                tensor.copy_(after[name])

    def _shared(self, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the sum over the processes: what is zero in one need not be so in others, and all must agree."""
        if self._processes.count == 1 or not gradients:
            return gradients
        flat = self._processes.summed(torch.cat(list(gradients.values())))
        parts = torch.split(flat, [len(g) for g in gradients.values()])
        return dict(zip(gradients, parts, strict=True))

    def _expected_us(self, model: nn.Module) -> float:
        return float(expected_us(self._relaxation.joint, model, probabilities(model)))

    def _ratio(self, model: nn.Module) -> float:
        """Return the expected latency by the budget."""
        return self._expected_us(model) / self._relaxation.budget_us

    def _epoch(self, state: TrainState) -> None:
        record = SearchRecord(
            epoch=len(self.records) + 1,
            expected_us=self._expected_us(state.model),
            budget_us=self._relaxation.budget_us,
            multiplier=float(self._relaxation.term.state().reshape(-1)[:1].sum()),
            entropy=entropy(state.model),
            loss=float(state.loss),
        )
        self.records.append(record)
        self._reporter.stage("Search").done(
            f"epoch {record.epoch}: expected {record.expected_us / 1e3:.3g} ms, budget "
            f"{self._relaxation.budget_us / 1e3:.3g} ms, multiplier {record.multiplier:.3g}, entropy "
            f"{record.entropy:.2f}, loss {record.loss:.3f}"
        )

    def _watch(self, state: TrainState) -> Mapping[str, float]:
        return {
            "search/expected_by_budget": self._ratio(state.model),
            "search/multiplier": float(self._relaxation.term.state().reshape(-1)[:1].sum()),
            "search/entropy": entropy(state.model),
        }

    def _optimiser(self, model: nn.Module) -> Adam:
        if self._adam is None:
            self._adam = Adam(logits_of(model).values(), lr=self._rate, betas=BETAS)
            if self._kept:
                put_together(self._adam, self._kept, {})
        return self._adam

    def _save(self) -> Mapping[str, Tensor]:
        moments = take_apart(self._adam)[0] if self._adam is not None else self._kept
        facts = [[r.epoch, r.expected_us, r.multiplier, r.entropy, r.loss] for r in self.records]
        clock = self._relaxation.clock
        return {
            **{f"adam.{name}": value for name, value in moments.items()},
            "term": self._relaxation.term.state(),
            "clock": torch.tensor([clock.progress, clock.step, clock.rate], dtype=torch.float64),
            "records": torch.tensor(facts, dtype=torch.float64).reshape(-1, 5),
        }

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._kept = {name.removeprefix("adam."): t for name, t in tensors.items() if name.startswith("adam.")}
        self._adam = None
        self._relaxation.term.restore(tensors["term"])
        clock = self._relaxation.clock
        progress, step, rate = tensors["clock"].tolist()
        if step < clock.step:  # the training diverged: what learns goes back, time does not
            return
        clock.progress, clock.step, clock.rate = progress, int(step), rate
        self.records = [
            SearchRecord(
                epoch=int(epoch),
                expected_us=us,
                budget_us=self._relaxation.budget_us,
                multiplier=multiplier,
                entropy=disorder,
                loss=loss,
            )
            for epoch, us, multiplier, disorder, loss in tensors["records"].tolist()
        ]


def supernet_optimiser(config: TrainConfig) -> OptimiserFactory:
    """Return what makes SGD for the weights of a supernet; its logits take part at a rate of zero, see `Architect`."""

    def make(model: nn.Module) -> Optimizer:
        weights = weight_parameters(model)
        groups: list[dict[str, Any]] = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
            {"params": list(logits_of(model).values()), "lr": 0.0, "weight_decay": 0.0},
        ]
        kept = [group for group in groups if group["params"]]
        return SGD(kept, lr=config.rate, momentum=config.momentum, nesterov=config.momentum > 0)

    return make


def entropy(model: nn.Module) -> float:
    """Return the mean entropy of the sites' choices, 1 where all candidates are equally likely."""
    free = [p for p in probabilities(model).values() if p.numel() > 1]
    relative = [float(-(p * p.clamp_min(1e-12).log()).sum()) / log(p.numel()) for p in free]
    return sum(relative) / max(1, len(relative))
