"""The contestants of a contest, trained alike, and the best of them as a proposal."""

from dataclasses import replace

from hwcomp.contest import Contest
from hwcomp.contestant import Contestant, winner
from hwcomp.draft import Drafted
from hwcomp.job import Job
from hwcomp.proposal_notes import described
from hwcomp.search.differentiable import METHOD, Searched, SearchTask
from hwcomp.search.shrunk import Precision, Shrunk, joined


def winner_of(job: Job, task: SearchTask, searched: Searched, contest: Contest) -> Shrunk | None:
    """Return the network of the best configuration that was measured within the budget, trained; None if none was."""
    options, seed = job.config.searching, job.config.seed
    found = contest.searched() or contest.resort()
    entered = [] if found is None else [found]
    if options.controls:
        entered += contest.controls()
    if not entered:
        return None
    seeds = range(seed, seed + (options.seeds if options.controls else 1))
    trained = [_trained(job, one, contest, seeds) for one in entered]
    taken = winner(trained)
    best = taken.best
    shrunk = Shrunk(
        network=best.network,
        widths=taken.configuration.widths,
        history=joined(searched.history, best.history),
        notes=searched.left_out,
        precision=Precision(assignment=best.assignment, params=best.params),
        budget=contest.budget,
        contest=tuple(one.entry(chosen=one is taken) for one in trained),
        search=searched.records,
    )
    return described(job, task.groups, task.joint.multiple, shrunk, f"{contest.budget}, {taken.name}")


def draft_of(shrunk: Shrunk) -> Drafted:
    """Return what the network that was chosen took before it was trained."""
    chosen = next(entry for entry in shrunk.contest if entry.chosen)
    return Drafted(latency_us=chosen.latency_us, speedup=chosen.speedup)


def _trained(job: Job, one: Contestant, contest: Contest, seeds: range) -> Contestant:
    share = 1 - job.config.searching.search_share
    name = f"{METHOD}, {one.name}"
    realised = tuple(contest.realiser.trained(one.configuration, name, share, seed) for seed in seeds)
    done = replace(one, realised=realised)
    job.reporter.stage("Contest").done(str(done))
    return done
