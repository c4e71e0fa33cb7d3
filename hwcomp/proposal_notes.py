"""What a report tells of a smaller network: what went, what stayed, and why."""

from dataclasses import replace

from hwcomp.groups import Groups
from hwcomp.job import Job
from hwcomp.macs import PRODUCTS, macs_of
from hwcomp.search.shrunk import Shrunk


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
    told = []
    if narrow:
        told.append(f"{', '.join(narrow)}: kept whole, not wider than one fast block of {multiple} channels")
    if job.workload.validation_data is None and shrunk.history:
        told.append(
            "The validation samples are some of train_data, and may have been trained on if it is shuffled; "
            "validation_data() gives others."
        )
    frozen = [f"{note.site}: its channels stay: {note.reason}" for note in groups.frozen]
    channels = {group.name: group.channels for group in groups.groups}
    return replace(shrunk, channels=channels, notes=(saved, *shrunk.notes, *told, *frozen))
