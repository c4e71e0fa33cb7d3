"""The networks that the differentiable search proposes: one within a budget, or several along a front."""

from collections.abc import Generator, Iterator

from hwcomp.attempt import Attempt
from hwcomp.config import Budget
from hwcomp.contest import Contest
from hwcomp.digests import model_digest
from hwcomp.draft import Drafts, drafts_of
from hwcomp.errors import InputError
from hwcomp.estimators import load_estimator
from hwcomp.importance import Importance, load_importance
from hwcomp.job import Job
from hwcomp.job_recovery import recovery_of
from hwcomp.latency_terms import load_latency_term
from hwcomp.search.configurations import Realiser
from hwcomp.search.differentiable import METHOD, Searched, SearchTask, differentiable
from hwcomp.search.recovery import Recovery
from hwcomp.search.shrunk import Shrunk
from hwcomp.search_table import SearchTable, search_table
from hwcomp.sparse_stage import check_kernels
from hwcomp.stages import digest
from hwcomp.winner import draft_of, winner_of

MAX_PROPOSALS = 3
IMPORTANCE, UNLABELLED_IMPORTANCE = "taylor", "group_l2"
"""The order in which channels go, if the user names none; gradients of the loss need labels."""


def by_search(job: Job) -> Generator[Shrunk, Attempt, None]:
    """Propose the network as it is, whose latency table the search reads, then what the search finds.

    Raises:
        InputError: there is no budget or no training data, or the budget is out of reach.
        LoweringError: sparse layers are asked for, and there is no C compiler for the target.
    """
    if job.config.budget.kind == "fastest":
        raise InputError(f"{METHOD} searches under a budget; give --latency or --speedup.")
    recovery = recovery_of(job)
    recovery.check()
    if job.config.searching.sparse:
        check_kernels(job.target)
    importance = _importance(job, recovery)
    _check_plugins(job)
    whole = yield Shrunk(network=job.network, widths={})
    drafts = drafts_of(job, whole)
    table = search_table(job, whole, drafts)
    table.check(job.config.budget)
    task = _task(job, table, whole, recovery, importance)
    searched = differentiable(task)
    for budget in _budgets(job, table):
        contest, attempt = _contest(job, task, searched, whole, table, drafts, budget), None
        for _ in range(MAX_PROPOSALS):
            shrunk = winner_of(job, task, searched, contest)
            if shrunk is None and attempt is None:  # the machine may have been slow for a while: all is timed again
                shrunk = winner_of(job, task, searched, contest)
            if shrunk is None:
                break
            attempt = yield shrunk
            if attempt.met:
                break
            contest = contest.missed_by(attempt.latency_us / attempt.wanted_us, draft_of(shrunk))
        if attempt is None:
            _nothing(job, budget, whole)


def _nothing(job: Job, budget: Budget, whole: Attempt) -> None:
    """Tell that nothing of the space was measured within a budget; the whole network may still be.

    Raises:
        InputError: it is the user's budget, and the whole network misses it too.
    """
    if budget == job.config.budget and not whole.met:
        raise InputError(f"No configuration of the space was measured within {budget}; allow more.")
    job.reporter.stage("Contest").done(f"no configuration of the space was measured within {budget}")


def _importance(job: Job, recovery: Recovery) -> Importance:
    """Return the user's importance, or the method's."""
    own = IMPORTANCE if recovery.has_labels else UNLABELLED_IMPORTANCE
    return load_importance(job.config.shrinking.importance or own, job.config.seed)


def _check_plugins(job: Job) -> None:
    """Refuse an estimator or a latency term that cannot be used before anything is measured."""
    load_estimator(job.config.searching.estimator)
    load_latency_term(job.config.searching.latency_term)


def _task(job: Job, table: SearchTable, whole: Attempt, recovery: Recovery, importance: Importance) -> SearchTask:
    gradients = recovery.gradients(job.network) if importance.needs_gradients else None
    return SearchTask(
        network=job.network,
        target=job.target,
        groups=table.groups,
        widths=table.widths,
        scores={group.name: importance(job.network.module, group, gradients) for group in table.groups.groups},
        params=whole.prepared.params,
        joint=table.joint,
        budget_us=table.limit_us(job.config.budget),
        recovery=recovery,
        options=job.config.searching,
    )


def _budgets(job: Job, table: SearchTable) -> Iterator[Budget]:
    """Yield the budgets of a front, the easiest first and the user's last; without a front the user's alone.

    The easiest is what precision alone reaches: that costs next to nothing, so nobody wants a slower network.
    """
    budget, points = job.config.budget, job.config.searching.pareto or 1
    asked, easiest = table.share_of(budget), table.easiest
    if points > 1 and asked >= easiest:
        job.reporter.stage("Front").done(f"precision alone reaches {budget}: there is no easier network worth having")
    for point in range(points - 1, 0, -1) if asked < easiest else ():
        ratio = (easiest / asked) ** (point / (points - 1))
        easier = budget.value * ratio if budget.kind == "latency" else budget.value / ratio
        yield budget.model_copy(update={"value": float(f"{easier:.3g}")})
    yield budget


def _contest(
    job: Job, task: SearchTask, searched: Searched, whole: Attempt, table: SearchTable, drafts: Drafts, budget: Budget
) -> Contest:
    return Contest(
        joint=task.joint,
        preference=searched.preference,
        sensitivity=whole.sensitivity,
        post_training=whole.assignment,
        drafts=drafts,
        realiser=Realiser(
            network=searched.network,
            groups=task.groups,
            scores=task.scores,
            target=job.target,
            inputs=tuple(whole.prepared.data.inputs),
            ranges=job.config.ranges,
            recovery=task.recovery,
            multiple=task.joint.multiple,
            weight_noise=job.config.searching.weight_noise,
        ),
        budget=budget,
        limit_us=table.limit_us(budget),
        seed=job.config.seed,
        stages=job.stages,
        key=digest(table.key, model_digest(searched.network.module)),
    )
