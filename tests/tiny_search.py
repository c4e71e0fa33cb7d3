"""A small supernet on data that can be learned, searched by the training loop; for tests, also in other processes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from joint_tables import TrueTables, fitted
from torch import Tensor, nn

from hwcomp import target
from hwcomp.calibration import activation_ranges, observe
from hwcomp.console import Reporter
from hwcomp.default_passes import default_passes
from hwcomp.estimators import load_estimator
from hwcomp.groups import Groups, width_groups
from hwcomp.joint_cost import JointTable
from hwcomp.latency_terms import load_latency_term
from hwcomp.program import Inputs, Program, run_passes
from hwcomp.quantizer import QuantParams
from hwcomp.search.architect import Architect, supernet_optimiser
from hwcomp.search.paired_data import paired_data
from hwcomp.search.records import SearchRecord
from hwcomp.search.relaxation import Relaxation, expected_us, probabilities
from hwcomp.search_options import Level
from hwcomp.supernet import Supernet, Widths, logits_of, supernet
from hwcomp.tracing import trace
from hwcomp.train import TrainConfig, TrainData, Trained, TrainState, task_objective, train
from hwcomp.width_designs import candidates

TARGET = target.load("x86_64")
CLASSES, SAMPLES, BATCH = 3, 96, 16


class Tiny(nn.Module):
    """Two convolutions and a classifier; norms are left out where several processes must agree exactly."""

    def __init__(self, *, norms: bool = True) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(12) if norms else nn.Identity()
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.one(x)))
        return self.head(torch.relu(self.two(x)).mean((2, 3)))


def samples() -> tuple[Tensor, Tensor]:
    """Images whose class is where they are bright."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, CLASSES, (SAMPLES,), generator=generator)
    x = 0.7 * torch.randn(SAMPLES, 2, 6, 6, generator=generator)
    for index, label in enumerate(y.tolist()):
        x[index, label % 2, 2 * label : 2 * label + 2] += 1.5
    return x, y


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is searched."""

    traced: Program
    groups: Groups
    params: Mapping[str, QuantParams]
    joint: JointTable
    widths: Mapping[str, tuple[int, ...]]
    scores: Mapping[str, Tensor]

    def supernet(self, *, stored: bool = True) -> Supernet:
        """Return the supernet; unless tensors are stored as integers, only weights are rounded."""
        ranks = {name: torch.argsort(torch.argsort(score, descending=True)) for name, score in self.scores.items()}
        widths = Widths(groups=self.groups, choices=self.widths, ranks=ranks)
        return supernet(self.traced, TARGET, self.params if stored else {}, widths=widths)

    @property
    def float_us(self) -> float:
        return self.joint.predict_us({}, {})


@cache
def setting(*, norms: bool = True) -> Setting:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Tiny(norms=norms).eval(), samples()[0]
        scores = {}
        traced = trace(model, (x[:2],))
        groups = width_groups(traced)
        for group in groups.groups:
            scores[group.name] = torch.rand(group.channels)
    folded = run_passes(traced, default_passes(TARGET))
    return Setting(
        traced=traced,
        groups=groups,
        params=activation_ranges(folded, observe(folded, [(x[:32],)]), "minmax", TARGET.activation),
        joint=fitted((traced, groups), TrueTables(TARGET)),
        widths={name: tuple(few) for name, few in candidates(groups, 4, {}).items()},
        scores=scores,
    )


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of a search."""

    model: nn.Module
    trained: Trained
    logits: Mapping[str, Tensor]
    expected_us: float
    budget_us: float
    multiplier: Tensor
    records: list[SearchRecord]


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    x, y = samples()
    for index in torch.randperm(SAMPLES).split(BATCH):
        yield x[index], y[index]


def search(
    path: Path | None = None,
    *,
    stop: int = 0,
    share: float = 0.5,
    epochs: int = 10,
    seed: int = 0,
    norms: bool = True,
    stored: bool = True,
    estimator: str = "weight_mixture",
    term: str = "lagrangian",
    term_options: Mapping[str, Any] | None = None,
    order: int = 1,
    level: Level = "bilevel",
    warmup: float = 0.1,
    rate: float = 0.1,
    poison: int = -1,
    **config: Any,
) -> Found:
    """Search within a share of the float latency.

    With ``stop`` it is interrupted in the hooks of that step; with ``poison`` the loss of that step is infinite, once.
    """
    where = setting(norms=norms)
    options = TrainConfig(**{"epochs": epochs, "rate": 0.05, "seed": seed, "checkpoint_s": 0.0, **config})
    usual, steps = task_objective(F.cross_entropy, None, options), list[int]()

    def task(model: nn.Module, inputs: Inputs, targets: Any) -> Tensor:
        loss: Tensor = usual(model, inputs, targets)
        if relaxation.clock.step != poison or steps.count(poison) == 2:  # for the weights and for the choices
            return loss
        steps.append(poison)
        return loss * torch.inf

    relaxation = Relaxation(
        task=task,
        estimator=load_estimator(estimator),
        term=load_latency_term(term, **(term_options or {})),
        joint=where.joint,
        budget_us=share * where.float_us,
        warmup=warmup,
        order=order,
        level=level,
        weight_decay=options.weight_decay,
        seed=options.seed,
    )
    architect = Architect(relaxation, rate, Reporter())

    def step(state: TrainState) -> None:
        architect.hooks.after_step(state)
        if state.step == stop:
            raise KeyboardInterrupt

    data = TrainData(batches=batches, example_inputs=(samples()[0][:2],))
    trained = train(
        where.supernet(stored=stored).program.module,
        paired_data(data) if level == "bilevel" else data,
        options,
        objective=relaxation,
        hooks=replace(architect.hooks, after_step=step),
        optimiser=supernet_optimiser(options),
        checkpoint=path,
    )
    return Found(
        model=trained.model,
        trained=trained,
        logits={name: tensor.detach() for name, tensor in logits_of(trained.model).items()},
        expected_us=float(expected_us(where.joint, trained.model, probabilities(trained.model))),
        budget_us=relaxation.budget_us,
        multiplier=relaxation.term.state(),
        records=architect.records,
    )
