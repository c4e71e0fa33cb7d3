r"""The differentiable joint search: precision and widths learned beside the weights, under a latency.

Every operator with a choice mixes its schemes and every width group its widths, by coefficients that an estimator draws
from logits; the latency term joins the task's loss with the expected latency of the joint table, so that it ends at
the budget. What comes of it are probabilities; `hwcomp.search.joint_projection` makes a configuration of them.

Sources: the relaxation [Liu2019]_; mixing weights instead of outputs [Cai2020]_; expected latencies from a table
[Wu2019]_; a multiplier instead of a penalty, so that nothing has to be tuned to meet the budget.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwcomp.estimators import load_estimator
from hwcomp.filter_splits import filter_ranks, filters_of
from hwcomp.groups import Groups
from hwcomp.joint_cost import JointTable
from hwcomp.latency_terms import load_latency_term
from hwcomp.program import Program
from hwcomp.quantizer import QuantParams
from hwcomp.search.architect import Architect, supernet_optimiser
from hwcomp.search.joint_projection import Preference
from hwcomp.search.moved import moved
from hwcomp.search.paired_data import paired_data
from hwcomp.search.records import SearchRecord
from hwcomp.search.recovery import Recovery
from hwcomp.search.relaxation import Relaxation, expected_us, probabilities
from hwcomp.search_options import SearchOptions
from hwcomp.stages import digest
from hwcomp.supernet import PrecisionSite, Supernet, WidthSite, sites_of, supernet, weights_to_source
from hwcomp.supernet.build import Widths
from hwcomp.target import Target
from hwcomp.train import EpochRecord

METHOD = "differentiable"
RATE = 0.01
"""Learning rate of the weights, if the user gives none; they are trained already."""

RAREST = 1e-3
"""Probability that every candidate has at least at the beginning."""


@dataclass(frozen=True, kw_only=True)
class SearchTask:
    """What is searched.

    Attributes:
        network: with all channels, as traced.
        target: decides the candidates of every operator.
        groups: of the network.
        widths: group -> widths to choose from, ascending, all channels last.
        scores: group -> importance of its channels; narrow widths take the best ones.
        params: of every tensor, from calibration; ranges are learned from there.
        joint: latency of every choice.
        budget_us: latency that the expectation is to have.
        recovery: trains.
        options: of the search.
    """

    network: Program
    target: Target
    groups: Groups
    widths: Mapping[str, tuple[int, ...]]
    scores: Mapping[str, Tensor]
    params: Mapping[str, QuantParams]
    joint: JointTable
    budget_us: float
    recovery: Recovery
    options: SearchOptions


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search found.

    Attributes:
        network: as traced, with the weights that the search trained.
        preference: how likely each candidate is.
        expected_us: latency that is expected of a configuration drawn at random.
        records: one for each epoch of the search.
        history: of the training of the weights.
        left_out: what was not searched, with the reason.
    """

    network: Program
    preference: Preference
    expected_us: float
    records: tuple[SearchRecord, ...]
    history: tuple[EpochRecord, ...]
    left_out: tuple[str, ...]


def differentiable(task: SearchTask) -> Searched:
    """Search, and return the probabilities of all candidates with the weights that go with them.

    Raises:
        InputError: there is no training data, or an option cannot be used.
    """
    ranks = _ranks(task.scores)
    net = supernet(
        task.network,
        task.target,
        task.params,
        widths=Widths(groups=task.groups, choices=task.widths, ranks=ranks),
        candidates={site.name: site.candidates for site in task.joint.table.space.free},
        alone=True,
        filter_ranks=filter_ranks(filters_of(task.network, task.groups), ranks),
        noise=task.options.weight_noise,
    )
    _begin_at_budget(task, net)
    recovery, options = task.recovery, task.options
    share = options.search_share
    config = recovery.config(share, RATE)
    relaxation = Relaxation(
        task=recovery.objective(config),
        estimator=load_estimator(options.estimator),
        term=load_latency_term(options.latency_term),
        joint=task.joint,
        budget_us=task.budget_us,
        warmup=options.warmup,
        order=options.order,
        level=options.level,
        weight_decay=config.weight_decay,
        seed=config.seed,
    )
    architect = Architect(relaxation, options.choice_rate, recovery.reporter)
    trained, history = recovery.run(
        net.program,
        METHOD,
        config,
        objective=relaxation,
        data=recovery.data() if options.level == "single" else paired_data(recovery.data()),
        hooks=architect.hooks,
        validation=False,
        optimiser=supernet_optimiser(config),
        goal={"table": digest(task.joint.as_json()), "budget_us": task.budget_us, **options.model_dump()},
    )
    return _searched(task, net, trained, architect, history)


def _begin_at_budget(task: SearchTask, net: Supernet) -> None:
    """Set the logits so that the expected latency is the budget from the first step on; nothing else is preferred."""
    begun = moved(task.joint, _preference(net.program.module), task.budget_us)
    with torch.no_grad():
        for site in sites_of(net.program.module).values():
            p = begun.widths[site.group] if isinstance(site, WidthSite) else begun.schemes[site.name]
            site.logits.copy_(torch.tensor(list(p.values())).clamp_min(RAREST).log())


def _searched(
    task: SearchTask, net: Supernet, trained: Program, architect: Architect, history: tuple[EpochRecord, ...]
) -> Searched:
    p = probabilities(trained.module)
    return Searched(
        network=weights_to_source(trained.module, net.program, net.source),
        preference=_preference(trained.module),
        expected_us=float(expected_us(task.joint, trained.module, p)),
        records=tuple(architect.records),
        history=history,
        left_out=tuple(f"{note.site}: {note.reason}" for note in net.left_out),
    )


def _preference(module: nn.Module) -> Preference:
    """Return the probabilities of a supernet's candidates."""
    p, sites = probabilities(module), sites_of(module)
    return Preference(
        schemes={
            name: dict(zip(site.candidates, p[name].tolist(), strict=True))
            for name, site in sites.items()
            if isinstance(site, PrecisionSite)
        },
        widths={
            site.group: dict(zip(site.widths, p[name].tolist(), strict=True))
            for name, site in sites.items()
            if isinstance(site, WidthSite)
        },
    )


def _ranks(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the place of every channel in the order of importance, 0 for the most important one."""
    order = {group: torch.argsort(score, descending=True, stable=True) for group, score in scores.items()}
    return {group: torch.argsort(places) for group, places in order.items()}
