"""The networks whose precision is to be chosen: the one that was given, or smaller ones that a method makes of it.

A method is told what came of each network that it proposed, and proposes another one or ends.
"""

from collections.abc import Callable, Generator
from dataclasses import replace

from hwcomp.attempt import Attempt
from hwcomp.config import BY_DENSITY, SOFT
from hwcomp.errors import InputError
from hwcomp.importance import load_importance
from hwcomp.job import Job
from hwcomp.job_recovery import recovery_of
from hwcomp.kernels import search_space
from hwcomp.proposal_notes import described, described_sparse
from hwcomp.scheme import NARROW
from hwcomp.search import (
    asymptotic_soft_filter_pruning,
    differentiable,
    latency_pruning,
    magnitude_pruning,
    score_pruning,
    soft_filter_pruning,
    uniform_pruning,
)
from hwcomp.search.shrink import Shrink, checked_groups
from hwcomp.search.shrunk import Shrunk, joined
from hwcomp.search.sparse_sites import sparse_sites
from hwcomp.search.sparsify import Sparsified, Sparsify
from hwcomp.searched import by_search
from hwcomp.sparse_options import asked_sparse
from hwcomp.sparse_stage import check_kernels
from hwcomp.train import EpochRecord
from hwcomp.width_stage import timed_widths

METHODS = {
    module.METHOD: (function, module.IMPORTANCE)
    for module, function in (
        (uniform_pruning, uniform_pruning.uniform_pruning),
        (soft_filter_pruning, soft_filter_pruning.soft_filter_pruning),
        (asymptotic_soft_filter_pruning, asymptotic_soft_filter_pruning.asymptotic_soft_filter_pruning),
    )
}
"""Methods that remove a share of the channels that the user gives, and the importance that they take."""

SPARSE_METHODS: dict[str, Callable[[Sparsify], Sparsified]] = {
    magnitude_pruning.METHOD: magnitude_pruning.magnitude_pruning,
    score_pruning.METHOD: score_pruning.score_pruning,
}
"""Methods that leave a share of the weights that the user gives."""

MAX_PROPOSALS = 3
"""Networks that are trained for one latency; the table of widths is good enough for the first or second."""

MARGIN = 0.97
"""Share of the latency that is asked for first: the table has an error, and precision is chosen anew."""


Proposals = Generator[Shrunk, Attempt, None]


def proposals(job: Job) -> Proposals:
    """Return the networks that the configured method proposes.

    Raises:
        InputError: the method cannot be used on this network, or lacks an option or data.
    """
    if job.config.method == "post_training":
        yield Shrunk(network=job.network, widths={})
    elif job.config.method == latency_pruning.METHOD:
        yield from _by_latency(job)
    elif job.config.method == differentiable.METHOD:
        yield from by_search(job)
    elif job.config.method in BY_DENSITY:
        yield _by_density(job)
    else:
        yield _by_rate(job)


def _by_rate(job: Job) -> Shrunk:
    method, importance = METHODS[job.config.method]
    shrink = _shrink(job, importance)
    if shrink.importance.needs_gradients and job.config.method in SOFT:
        raise InputError(
            f"The importance '{shrink.importance.name}' needs gradients, which {job.config.method} does not gather "
            "after every epoch; use l1, l2, group_l2 or batchnorm_scale."
        )
    rate = shrink.rate  # a missing one is told before anything is measured
    integers = search_space(job.original).everywhere(*NARROW)
    shrink = replace(shrink, multiple=timed_widths(job, shrink.groups, integers).multiple)
    return described(job, shrink.groups, shrink.multiple, method(shrink), f"rate {rate:g}")


def _by_density(job: Job) -> Shrunk:
    options, method = job.config.shrinking, job.config.method
    sparse = asked_sparse(method, options.pattern, options.density)
    found = sparse_sites(job.network, sparse)
    recovery = recovery_of(job)
    recovery.check()
    check_kernels(job.target)
    done = SPARSE_METHODS[method](Sparsify(network=job.network, sites=found.sites, sparse=sparse, recovery=recovery))
    return described_sparse(job, done, sparse, found.dense)


def _by_latency(job: Job) -> Proposals:
    if job.config.budget.kind == "fastest":
        raise InputError(f"{latency_pruning.METHOD} prunes until a budget is met; give --latency or --speedup.")
    shrink = _shrink(job, latency_pruning.IMPORTANCE)
    outcome = yield Shrunk(network=job.network, widths={})
    if outcome.met:
        return
    groups = shrink.groups
    table = timed_widths(job, groups, outcome.assignment)
    shrink = replace(shrink, multiple=table.multiple)
    widths = {group.name: group.channels for group in groups.groups}
    history: tuple[EpochRecord, ...] = ()
    for _ in range(MAX_PROPOSALS):
        limit_us = table.law(widths) * min(MARGIN, MARGIN * outcome.wanted_us / outcome.latency_us)
        shrunk = latency_pruning.latency_pruning(shrink, table.law, widths, limit_us)
        history = joined(history, shrunk.history)
        shrunk = replace(shrunk, history=history)
        asked = f"{limit_us / 1e3:.3g} ms by the table of widths"
        outcome = yield described(job, groups, table.multiple, shrunk, asked)
        if outcome.met:
            return
        shrink, widths = shrink.of(shrunk.network), dict(shrunk.widths)


def _shrink(job: Job, importance: str) -> Shrink:
    """Return what methods work on, after making sure that it can be trained; its widths are not rounded yet."""
    config = job.config
    groups = checked_groups(job.network)
    recovery = recovery_of(job)
    recovery.check()
    return Shrink(
        network=job.network,
        groups=groups,
        importance=load_importance(config.shrinking.importance or importance, config.seed),
        recovery=recovery,
        multiple=1,
        options=config.shrinking,
    )
