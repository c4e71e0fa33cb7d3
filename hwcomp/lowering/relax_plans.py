"""Schedules by plan: what `hwcomp tune` tries, and what is compiled of what it found."""

from math import prod
from typing import Any

import tvm
from tvm.s_tir import Schedule

from hwcomp.errors import LoweringError
from hwcomp.lowering.plan import Plan, PlanOf
from hwcomp.lowering.relax_schedule import (
    SPATIAL,
    blocks_of,
    compute_where_read,
    generated,
    scheduled,
    scheduled_block,
)

MAX_UNROLLED = 64
"""Rounds of the loops inside a tile that are written out one by one."""


def with_schedules(module: Any, lanes: int, threads: int, plan_of: PlanOf) -> Any:
    """Return a module in which every function that TVM generated has a schedule.

    Args:
        module: with our kernels, which have theirs already.
        lanes: floats of a vector.
        threads: that share the work.
        plan_of: function -> its plan, found by `hwcomp tune`; None where there is none.
    """
    module = module.clone()
    for name, function in generated(module):
        plan = plan_of(function)
        module[name] = scheduled(function, lanes, threads) if plan is None else planned(function, plan, lanes, threads)
    return module


def planned(function: Any, plan: Plan, lanes: int, threads: int) -> Any:
    """Return a function scheduled by a plan.

    Before: nested loops over each tensor in between and the output, one after the other. After: the block that does
    most runs as the plan says; what is computed for each of its inputs alone is computed where it is read, or kept;
    everything else is scheduled as without a plan.

    Args:
        function: as TVM translates operators, without a schedule.
        plan: from `hwcomp.tuning.space`, for this function.
        lanes: floats of a vector.
        threads: that share the work.

    Raises:
        LoweringError: the function cannot be scheduled so.
    """
    schedule = Schedule(tvm.IRModule({"main": function}))
    try:
        block = heaviest(schedule, keeps_inputs=plan.keeps_inputs)
        others = [other for other in blocks_of(schedule) if not same(schedule, other, block)]
        (_sum if plan.tiles else _map)(schedule, block, plan)
        for other in others:
            scheduled_block(schedule, other, lanes, threads)
    except (RuntimeError, ValueError) as error:  # schedules raise the one, loops that are not there the other
        raise LoweringError(f"A function cannot be scheduled by {plan}: {error}") from error
    return schedule.mod["main"].with_attrs(function.attrs)


def heaviest(schedule: Any, *, keeps_inputs: bool) -> Any:
    """Compute what can be where it is read, and return the block with most rounds of its loops.

    Args:
        schedule: of a function, without anything done to it; changed.
        keeps_inputs: leave alone what that block reads.
    """
    blocks = blocks_of(schedule)
    sums = [block for block in blocks if _is_sum(schedule, block)]
    spared = schedule.get_producers(_largest(schedule, sums)) if sums and keeps_inputs else []
    compute_where_read(schedule, [b for b in blocks[:-1] if not any(same(schedule, b, s) for s in spared)])
    return _largest(schedule, sums or blocks_of(schedule))


def _largest(schedule: Any, blocks: list[Any]) -> Any:
    return max(blocks, key=lambda block: prod(int(axis.dom.extent) for axis in schedule.get(block).iter_vars))


def same(schedule: Any, one: Any, other: Any) -> bool:
    """Return whether two references lead to one block."""
    return bool(schedule.get_sref(one).same_as(schedule.get_sref(other)))


def _is_sum(schedule: Any, block: Any) -> bool:
    return any(int(axis.iter_type) != SPATIAL for axis in schedule.get(block).iter_vars)


def _map(schedule: Any, block: Any, plan: Plan) -> None:
    """Schedule a block whose outputs are computed each alone."""
    loops = list(schedule.get_loops(block))
    if plan.innermost is not None:
        loops.append(loops.pop(plan.innermost))
        schedule.reorder(*loops)
    head, inner = loops[: len(loops) - plan.fused], loops[len(loops) - plan.fused :]
    last = schedule.fuse(*inner) if len(inner) > 1 else inner[0]
    if plan.vector:
        outer, vector = schedule.split(last, [None, plan.vector])
        schedule.vectorize(vector)
        head = [*head, outer]
    if plan.parallel:
        schedule.parallel(schedule.fuse(*head))


def _sum(schedule: Any, block: Any, plan: Plan) -> None:
    """Schedule a block of sums: a tile of outputs stays in registers while all of its summands are added."""
    axes, loops = schedule.get(block).iter_vars, schedule.get_loops(block)
    result = schedule.cache_write(block, 0, "local")
    pairs = [schedule.split(loop, [None, tile]) for loop, tile in zip(loops, plan.tiles, strict=True)]
    is_output = [int(axis.iter_type) == SPATIAL for axis in axes]
    outputs = [pair for pair, yes in zip(pairs, is_output, strict=True) if yes]
    sums = [pair for pair, yes in zip(pairs, is_output, strict=True) if not yes]
    if plan.innermost is not None:
        outputs.append(outputs.pop(plan.innermost))
    tile = [inner for _, inner in outputs]
    schedule.reorder(*(o for o, _ in outputs), *(o for o, _ in sums), *(i for _, i in sums), *tile)
    schedule.reverse_compute_at(result, outputs[-1][0])
    if plan.parallel:  # before there are two blocks: TVM cannot tell any more that the rounds are independent
        schedule.parallel(schedule.fuse(*(outer for outer, _ in outputs)))
    _write_out(schedule, tile)
    first = schedule.decompose_reduction(block, sums[0][0])
    _write_out(schedule, schedule.get_loops(first)[-len(tile) :])


def _write_out(schedule: Any, tile: list[Any]) -> None:
    """Run the last loop of a tile in vectors, and write out the others."""
    schedule.vectorize(tile[-1])
    if prod(int(schedule.get(loop).extent) for loop in tile[:-1]) <= MAX_UNROLLED:
        for loop in tile[:-1]:
            schedule.unroll(loop)


def is_plain(function: Any) -> bool:
    """Return whether a function has nothing but loops of constant size over its blocks, which schedules need."""
    schedule = Schedule(tvm.IRModule({"main": function}))
    blocks = blocks_of(schedule)
    return bool(blocks) and all(
        len(schedule.get_loops(block)) == len(schedule.get(block).iter_vars) > 0 for block in blocks
    )
