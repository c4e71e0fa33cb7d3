"""The stage "Sparse" of the differentiable search: which layers may leave out weights; and what kernels that needs."""

from contextlib import AbstractContextManager, nullcontext

from hwcomp.benches import device_for
from hwcomp.groups import Groups
from hwcomp.job import Job
from hwcomp.joint_cost import JointTable
from hwcomp.lowering.sparse_layers import kernel_library
from hwcomp.sparse_costs import BLOCK, DENSITIES, SparseCost, sparse_timings, timed_sparse, with_sparse
from hwcomp.stages import digest
from hwcomp.target import Target
from hwcomp.width_law import Polynomial
from hwcomp.width_stage import timer_of


def check_kernels(target: Target) -> None:
    """Make sure that the sparse kernels of a target can be built, before anything is trained for them.

    Raises:
        InputError: there are none for its instructions.
        LoweringError: there is no C compiler for it.
    """
    if target.sparse:
        kernel_library(tuple(target.isa))


def with_sparse_layers(job: Job, groups: Groups, joint: JointTable) -> JointTable:
    """Return the joint table with sparse layers where they pay, timed now or in an earlier run.

    Raises:
        InputError: the device cannot be used.
    """
    if not job.config.searching.sparse:
        return joint
    stage, space = job.reporter.stage("Sparse"), joint.table.space
    if not job.target.sparse:
        stage.done(f"there are no kernels that leave out weights on '{job.target.name}': every layer keeps all of them")
        return joint
    device = device_for(job.target, job.config)
    place: AbstractContextManager[object] = nullcontext() if device is None else device
    with place:
        _, where = timer_of(job, device, {})
        shapes = [[group.name, group.channels] for group in groups.groups]
        key = digest("sparse", str(job.network.module.code), shapes, DENSITIES, BLOCK, where, job.config.seed)

        def measure() -> dict[str, list[list[object]]]:
            with stage.bar("timing networks with zeros", total=sparse_timings(groups)) as bar:
                costs = timed_sparse(
                    job.network, groups, space, job.config.seed, lambda one: timer_of(job, device, one)[0], bar.advance
                )
            return {site: [[c.choice, c.ratio, c.law.as_json()] for c in own] for site, own in costs.items()}

        kept = job.stages.json("sparse", key, measure)
    costs = {
        site: [SparseCost(choice=choice, ratio=ratio, law=Polynomial.of_json(law)) for choice, ratio, law in own]
        for site, own in kept.items()
    }
    result = with_sparse(joint, costs)
    before = {site.name: len(site.candidates) for site in space.sites}
    paying = sum(len(site.candidates) > before[site.name] for site in result.table.space.sites)
    stage.done(f"leaving out weights pays in {paying} of {len(costs)} layers with a sparse kernel")
    return result
