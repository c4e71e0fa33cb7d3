"""What a search goes by: the table of widths and precision, and what its microseconds are worth in measured ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwcomp.attempt import Attempt
from hwcomp.compaction import compact
from hwcomp.config import Budget
from hwcomp.draft import Drafts
from hwcomp.errors import InputError
from hwcomp.groups import Groups, width_groups
from hwcomp.job import Job
from hwcomp.joint_cost import JointTable
from hwcomp.joint_stage import joint_table_of
from hwcomp.search.differentiable import METHOD
from hwcomp.search.knapsack import Sensitivity, solve
from hwcomp.sparse_stage import with_sparse_layers
from hwcomp.sparsity import network_with_zeros
from hwcomp.split_stage import with_split_layers
from hwcomp.stages import digest
from hwcomp.width_designs import candidates

LEVELS = ("smallest", "whole", "float")
"""Networks whose latency is measured; the whole one only if its precision makes it faster and it has widths."""

EASIEST = 0.9
"""Share of the float latency at which a front begins where precision alone makes nothing faster."""


@dataclass(frozen=True, kw_only=True)
class SearchTable:
    """Latencies that a search goes by.

    The table is right about which choice is faster, and may be off by a tenth or two about how fast a whole network
    is. So its level is read off networks that were measured as wholes: the smallest one of the space, the whole one in
    its best precision, and the float one. All of it is kept from the first run on, so that a search that was
    interrupted goes on with the same numbers.

    Attributes:
        key: hash of what was searched where.
        groups: of the network.
        joint: latency of every precision and width.
        widths: group -> widths to choose from, ascending.
        float_us: measured latency of the float network.
        shares: measured latencies by the float network's, ascending; the last one is 1.
        table_us: what the table says of the same networks.
    """

    key: str
    groups: Groups
    joint: JointTable
    widths: dict[str, tuple[int, ...]]
    float_us: float
    shares: tuple[float, ...]
    table_us: tuple[float, ...]

    @property
    def easiest(self) -> float:
        """The share of the float latency that precision alone reaches; `EASIEST` where it reaches nothing."""
        return self.shares[1] if len(self.shares) == len(LEVELS) else EASIEST

    def limit_us(self, budget: Budget) -> float:
        """Return what a budget allows, in the table's microseconds."""
        return float(np.interp(self.share_of(budget), self.shares, self.table_us))

    def share_of(self, budget: Budget) -> float:
        """Return what a budget allows, by the latency of the float network."""
        return budget.value / self.float_us if budget.kind == "latency" else 1 / budget.value

    def check(self, budget: Budget) -> None:
        """Refuse a budget that no network of the space meets, before anything is trained.

        Raises:
            InputError: the smallest one is too slow.
        """
        if self.shares[0] > self.share_of(budget):
            raise InputError(
                f"The budget ({budget}) is out of reach: the smallest network of the space takes "
                f"{self.shares[0] * self.float_us / 1e3:.3g} ms, {1 / self.shares[0]:.2f}x; ask for less."
            )


def search_table(job: Job, whole: Attempt, drafts: Drafts) -> SearchTable:
    """Return what a search goes by: of an earlier run of the same command, or timed now.

    Args:
        job: the compilation.
        whole: the network as it is, measured.
        drafts: tells what networks take.
    """
    config, groups = job.config, width_groups(job.network)
    place = [config.device, job.threads, job.target.model_dump(mode="json")]
    options = [config.seed, config.searching.filter_share, config.searching.sparse, config.searching.fixed_widths]
    key = digest(METHOD, whole.prepared.key, config.budget.model_dump(), place, options)

    def timed() -> dict[str, Any]:
        joint = with_split_layers(job, groups, joint_table_of(job, groups, whole.table))
        joint = with_sparse_layers(job, groups, joint)
        shares, table_us = _levels(job, groups, joint, whole, drafts)
        float_us = whole.final.baseline.median_us
        return {"joint": joint.as_json(), "float_us": float_us, "shares": shares, "table_us": table_us}

    kept = job.stages.json("search", key, timed)
    joint = JointTable.of_json(kept["joint"])
    return SearchTable(
        key=key,
        groups=groups,
        joint=joint,
        widths=_widths(job, groups, joint),
        float_us=kept["float_us"],
        shares=tuple(kept["shares"]),
        table_us=tuple(kept["table_us"]),
    )


def _levels(
    job: Job, groups: Groups, joint: JointTable, whole: Attempt, drafts: Drafts
) -> tuple[list[float], list[float]]:
    """Return latencies, measured by the float network's and by the table: of the smallest, the whole, the float one."""
    widths = {group: options[0] for group, options in _widths(job, groups, joint).items()}
    smallest = joint.at(widths)
    fastest = solve(smallest, Sensitivity(weights={}, tensors={})) or {}
    narrow = compact(job.network, groups, {group: range(width) for group, width in widths.items()})
    drafted = drafts(network_with_zeros(narrow, fastest), fastest)
    points = [(1 / drafted.speedup, smallest.predict_us(fastest)), (1.0, joint.table.predict_us({}))]
    if widths and not whole.final.is_plain:
        points.insert(1, (1 / whole.final.speedup, joint.table.predict_us(whole.assignment)))
    shares, table_us = (np.maximum.accumulate(values).tolist() for values in zip(*points, strict=True))
    return shares, table_us


def _widths(job: Job, groups: Groups, joint: JointTable) -> dict[str, tuple[int, ...]]:
    if job.config.searching.fixed_widths:
        return {}
    return {name: tuple(widths) for name, widths in candidates(groups, joint.multiple, {}).items()}
