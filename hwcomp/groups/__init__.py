"""Which channels of a program must be removed together."""

from hwcomp.groups.collect import collect
from hwcomp.groups.ledger import Ledger
from hwcomp.groups.model import Groups, Member, WidthGroup
from hwcomp.groups.settle import settle
from hwcomp.groups.walk import walk
from hwcomp.program import Program

__all__ = ["Groups", "Member", "WidthGroup", "width_groups"]


def width_groups(program: Program) -> Groups:
    """Return the width groups of a traced program.

    Every tensor gets a *shadow*: its shape filled with ids of channels, which goes through the graph in its place.
    Layers make ids along their rows; operators that move values move ids; additions and consumers make ids one. Ids
    that are one are a channel. Channels that live in the same places form a group, and any of a group's channels may
    be removed.

    Args:
        program: as `hwcomp.tracing.trace` gives it; normalisations not folded.
    """
    ledger = Ledger()
    values = walk(program, ledger)
    return collect(program, ledger, values, settle(ledger, values))
