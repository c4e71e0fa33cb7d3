"""The stage "Filters" of the differentiable search: which layers may have two precisions."""

from contextlib import AbstractContextManager, nullcontext

from hwcomp.benches import device_for
from hwcomp.compaction.permute import permuted
from hwcomp.errors import PassError
from hwcomp.filter_splits import filters_of
from hwcomp.groups import Groups
from hwcomp.job import Job
from hwcomp.joint_cost import JointTable
from hwcomp.program import Program
from hwcomp.split_costs import SplitCost, timed_splits, with_splits
from hwcomp.stages import digest
from hwcomp.width_stage import timer_of


def with_split_layers(job: Job, groups: Groups, joint: JointTable) -> JointTable:
    """Return the joint table with layers of two precisions where they pay, timed now or in an earlier run.

    Raises:
        InputError: the device cannot be used.
    """
    share, space = job.config.searching.filter_share, joint.table.space
    if not share:
        return joint
    stage = job.reporter.stage("Filters")
    device = device_for(job.target, job.config)
    place: AbstractContextManager[object] = nullcontext() if device is None else device
    with place:
        _, where = timer_of(job, device, {})
        candidates = [[site.name, site.candidates] for site in space.sites]
        key = digest("filters", str(job.network.module.code), candidates, share, joint.multiple, where)

        def measure() -> dict[str, list[list[object]]]:
            with stage.bar("timing layers of two precisions", total=None):
                layers = split_candidates(job.network, groups)
                costs = timed_splits(
                    job.network, space, layers, share, joint.multiple, lambda one: timer_of(job, device, one)[0]
                )
            return {layer: [[cost.choice, cost.ratio] for cost in own] for layer, own in costs.items()}

        kept = job.stages.json("filters", key, measure)
    costs = {layer: [SplitCost(choice=choice, ratio=ratio) for choice, ratio in own] for layer, own in kept.items()}
    if not costs:
        return joint
    result = with_splits(joint, costs)
    before = {site.name: len(site.candidates) for site in space.sites}
    paying = sum(len(site.candidates) > before[site.name] for site in result.table.space.sites)
    stage.done(f"two precisions in one layer, {share:.0%} and {1 - share:.0%}: pay in {paying} of {len(costs)} layers")
    return result


def split_candidates(network: Program, groups: Groups) -> list[str]:
    """Return the layers whose filters can be put in any order."""
    filters = filters_of(network, groups)
    layers = []
    for name in dict.fromkeys(own.group for own in filters.values()):
        try:
            permuted(network, groups, {name: range(groups[name].channels)[::-1]})
        except PassError:  # the network tells these channels apart by where they are
            continue
        layers += [layer for layer, own in filters.items() if own.group == name]
    return layers
