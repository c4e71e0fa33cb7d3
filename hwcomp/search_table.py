"""The stage "Widths" of the differentiable search, kept for the next run of the same command."""

from dataclasses import dataclass
from typing import Any

from hwcomp.attempt import Attempt
from hwcomp.config import Budget
from hwcomp.groups import Groups, width_groups
from hwcomp.job import Job
from hwcomp.joint_cost import JointTable
from hwcomp.joint_stage import joint_table_of
from hwcomp.search.differentiable import METHOD
from hwcomp.stages import digest


@dataclass(frozen=True, kw_only=True)
class SearchTable:
    """Latencies that a search goes by.

    They are kept from the first run on, so that a search that was interrupted goes on with the same numbers.

    Attributes:
        key: hash of what was searched where.
        groups: of the network.
        joint: latency of every precision and width.
        float_us: latency of the float network when the table was made.
    """

    key: str
    groups: Groups
    joint: JointTable
    float_us: float

    def limit_us(self, budget: Budget) -> float:
        """Return what a budget allows, in the table's microseconds."""
        return budget.value if budget.kind == "latency" else self.float_us / budget.value


def search_table(job: Job, whole: Attempt) -> SearchTable:
    """Return what a search goes by: of an earlier run of the same command, or timed now.

    Args:
        job: the compilation.
        whole: the network as it is, measured.
    """
    config, groups = job.config, width_groups(job.network)
    place = [config.device, job.threads, job.target.model_dump(mode="json")]
    key = digest(METHOD, whole.prepared.key, config.budget.model_dump(), place, config.seed)

    def timed() -> dict[str, Any]:
        joint = joint_table_of(job, groups, whole.table)
        return {"joint": joint.as_json(), "float_us": whole.bench.float_us}

    kept = job.stages.json("search", key, timed)
    return SearchTable(key=key, groups=groups, joint=JointTable.of_json(kept["joint"]), float_us=kept["float_us"])
