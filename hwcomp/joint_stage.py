"""The stage "Widths" of the differentiable search: the table of widths and precision together."""

from contextlib import AbstractContextManager, nullcontext

from hwcomp.benches import device_for
from hwcomp.cost import CostTable
from hwcomp.groups import Groups
from hwcomp.job import Job
from hwcomp.joint_cost import JointTable
from hwcomp.joint_timing import joint_table, joint_timings
from hwcomp.scheme import NARROW
from hwcomp.stages import digest
from hwcomp.width_stage import timer_of


def joint_table_of(job: Job, groups: Groups, table: CostTable) -> JointTable:
    """Return the joint table of a compilation's network, timed now or in an earlier run.

    Args:
        job: the compilation.
        groups: of its network.
        table: of all precisions at full widths.

    Raises:
        InputError: the device cannot be used.
    """
    stage = job.reporter.stage("Widths")
    device = device_for(job.target, job.config)
    place: AbstractContextManager[object] = nullcontext() if device is None else device
    assignments = [table.space.everywhere(), table.space.everywhere(*NARROW)]
    with place:
        timers, where = zip(*(timer_of(job, device, assignment) for assignment in assignments), strict=True)
        shapes = [[group.name, group.channels] for group in groups.groups]
        choices = [[site.name, site.candidates] for site in table.space.sites]
        key = digest("joint", str(job.network.module.code), shapes, choices, where[0], job.config.seed)

        def measure() -> dict[str, object]:
            with stage.bar("timing networks of other widths", total=joint_timings(groups)) as bar:
                return joint_table(job.network, groups, table, timers, job.config.seed, bar.advance).as_json()

        found = job.stages.has("widths", key)
        joint = JointTable.of_json(job.stages.json("widths", key, measure)).anchored(table)
    stage.done(f"{len(groups.groups)} groups, {joint}" + (", from an earlier run" if found else ""))
    return joint
