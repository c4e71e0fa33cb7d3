"""The most likely configuration that uses what a budget allows.

Where a search was too short to decide, the cheapest candidate of every site may be the most likely one, while their
expected latency is the budget: the dearer ones share the rest. The most likely configuration then leaves half of the
budget unused. So the probabilities are moved on, in proportion to what candidates cost (`hwcomp.search.moved`), as
little as makes the configuration use its budget.
"""

from hwcomp.joint_cost import JointTable
from hwcomp.search.joint_projection import Configuration, Preference, project
from hwcomp.search.moved import moved

ENOUGH = 0.97
"""Share of the limit that a configuration is to use."""

STEPS = 6


def spend(joint: JointTable, preference: Preference, limit_us: float) -> Configuration | None:
    """Return a configuration within a latency, or None if none is found.

    Args:
        joint: latencies.
        preference: what the search found.
        limit_us: latency by the table.
    """
    aim_us, best = limit_us, None
    for _ in range(STEPS):
        found = project(joint, moved(joint, preference, aim_us), limit_us)
        if found is None:
            break
        if best is None or found.predicted_us > best.predicted_us:
            best = found
        if found.predicted_us >= ENOUGH * limit_us:
            break
        aim_us *= limit_us / found.predicted_us
    return best
