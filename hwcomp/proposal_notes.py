"""What a report tells of a smaller or sparser network: what went, what stayed, and why."""

from collections.abc import Sequence
from dataclasses import replace

from hwcomp.groups import Groups
from hwcomp.job import Job
from hwcomp.macs import PRODUCTS, macs_by_node, macs_of
from hwcomp.ops import anchor, module_of
from hwcomp.program import Note, Program
from hwcomp.scheme import Sparse, is_sparse
from hwcomp.search.shrunk import Shrunk
from hwcomp.search.sparsify import Sparsified


def described(job: Job, groups: Groups, multiple: int, shrunk: Shrunk, asked: str) -> Shrunk:
    """Return what a method gave with the notes that its report needs, after printing the most important one.

    Args:
        job: the compilation.
        groups: of its network.
        multiple: channel counts that are fast.
        shrunk: what a method made of the network.
        asked: of the method.
    """
    before, after = macs_of(job.network, PRODUCTS), macs_of(shrunk.network, PRODUCTS)
    whole = sum(shrunk.widths.get(group.name, group.channels) == group.channels for group in groups.groups)
    saved = (
        f"{job.config.method}, {asked}: {100 * (1 - after / max(before, 1)):.1f} % of the multiply-accumulates "
        f"and channels of {len(groups.groups) - whole} of {len(groups.groups)} groups removed"
    )
    job.reporter.stage("Shrink").done(saved)
    narrow = [group.name for group in groups.groups if 1 < group.channels <= multiple]
    told = list[str]()
    if narrow:
        told.append(f"{', '.join(narrow)}: kept whole, not wider than one fast block of {multiple} channels")
    told += _of_sparse_layers(shrunk)
    told += _of_validation(job) if shrunk.history else []
    frozen = [f"{note.site}: its channels stay: {note.reason}" for note in groups.frozen]
    channels = {group.name: group.channels for group in groups.groups}
    return replace(shrunk, channels=channels, notes=(saved, *shrunk.notes, *told, *frozen))


def described_sparse(job: Job, done: Sparsified, sparse: Sparse, dense: Sequence[Note]) -> Shrunk:
    """Return a network with sparse weights and the notes that its report needs, after printing the most important one.

    Args:
        job: the compilation.
        done: what a method made of the network.
        sparse: what was asked of it.
        dense: the layers that it was not asked of, with the reason.
    """
    macs, zeros = macs_by_node(job.network, PRODUCTS), _shares_of_zeros(done.network, [*done.choices])
    saved = sum(share * macs.get(site, 0) for site, share in zeros.items()) / max(sum(macs.values()), 1)
    told = (
        f"{job.config.method}, {sparse}: {100 * saved:.1f} % of the multiply-accumulates are with zeros now, in "
        f"{len(zeros)} of {len(zeros) + len(dense)} layers"
    )
    job.reporter.stage("Shrink").done(told)
    by_reason: dict[str, list[str]] = {}
    for note in dense:
        by_reason.setdefault(note.reason, []).append(note.site)
    kept = [f"{', '.join(sites)}: {reason}" for reason, sites in by_reason.items()]
    slow = [] if job.target.sparse else [f"target '{job.target.name}' has no sparse kernels: zeros make nothing faster"]
    notes = (told, *slow, *done.notes, *(_of_validation(job) if done.history else []), *kept)
    return Shrunk(network=done.network, widths={}, history=done.history, notes=notes)


def _of_sparse_layers(shrunk: Shrunk) -> list[str]:
    """Return which layers a search gave sparse weights, by their schemes."""
    by_scheme: dict[str, list[str]] = {}
    for site, choice in shrunk.precision.assignment.items() if shrunk.precision is not None else ():
        if is_sparse(choice):
            by_scheme.setdefault(choice, []).append(site)
    return [f"{', '.join(sites)}: keeps a part of its weights ({choice})" for choice, sites in by_scheme.items()]


def _shares_of_zeros(network: Program, sites: Sequence[str]) -> dict[str, float]:
    """Return the share of zeros in the weight of each site."""
    nodes, found = {node.name: node for node in network.nodes}, {}
    for site in sites:
        module = module_of(nodes[site])
        assert module is not None
        weight = anchor(module).get_parameter("weight")
        found[site] = float((weight == 0).float().mean())
    return found


def _of_validation(job: Job) -> list[str]:
    """Return what is to be said about the samples that a training was watched by."""
    told = (
        "The validation samples are some of train_data, and may have been trained on if it is shuffled; "
        "validation_data() gives others."
    )
    return [told] if job.workload.validation_data is None else []
