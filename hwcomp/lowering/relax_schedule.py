"""Schedules for what we have no kernel for: outer loops on all threads, inner loops in vectors."""

from math import prod
from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.tirx.analysis import undefined_vars

OPAQUE = 8
"""TVM's mark of a function that fuses with nothing; our own kernels bear it."""

MIN_ELEMENTS = 32768
"""Outputs of a block below which waking threads takes longer than computing."""

MIN_TASKS = 16
"""Rounds of the outer loops, so that every thread gets about as many."""

SPATIAL = 0
"""TVM's kind of a loop that goes through outputs, and does not sum."""


def generated(module: Any) -> list[tuple[Any, Any]]:
    """Return the functions of a module that TVM generated, with their names: those for which we have no kernel."""
    pairs = module.functions_items()
    return [(name, one) for name, one in pairs if isinstance(one, tirx.PrimFunc) and not _is_ours(one)]


def scheduled(function: Any, lanes: int, threads: int) -> Any:
    """Return a function with the schedule that it gets without a plan.

    Before: nested loops over each tensor in between and the output, one after the other; after: what is computed for
    each output alone is computed there, the outer loops are divided between threads, and the inner ones go through
    memory in order, so that they run in vectors.

    Args:
        function: as TVM translates operators.
        lanes: floats of a vector.
        threads: that share the work; with one, no loop is divided, which would keep LLVM from simplifying indices.
    """
    schedule = Schedule(tvm.IRModule({"main": function}))
    compute_where_read(schedule, blocks_of(schedule)[:-1])
    for block in blocks_of(schedule):
        scheduled_block(schedule, block, lanes, threads)
    return schedule.mod["main"].with_attrs(function.attrs)


def blocks_of(schedule: Any) -> list[Any]:
    """Return the blocks of a function, in order."""
    return list(schedule.get_child_blocks(schedule.get_sblock("root", func_name="main")))


def scheduled_block(schedule: Any, block: Any, lanes: int, threads: int) -> None:
    """Divide the outer loops of a block between threads, and run the inner ones in vectors."""
    loops = schedule.get_loops(block)
    axes = schedule.get(block).iter_vars
    spatial = [loop for loop, axis in zip(loops, axes, strict=True) if int(axis.iter_type) == SPATIAL]
    if not spatial or spatial != loops[: len(spatial)]:
        return
    sizes = [int(schedule.get(loop).extent) for loop in spatial]
    inner = flat_loops(schedule.get(block)) if len(spatial) == len(loops) else 0
    while inner > 1 and prod(sizes[: len(sizes) - inner]) < MIN_TASKS:
        inner -= 1
    if inner > 1:
        schedule.fuse(*spatial[len(spatial) - inner :])  # LLVM finds the vectors: a split would leave divisions
    elif inner == 1 and sizes[-1] % lanes == 0:
        schedule.vectorize(schedule.split(spatial[-1], [None, lanes])[1])
    head = spatial[: len(spatial) - inner]
    if threads > 1 and head and prod(sizes) >= MIN_ELEMENTS:
        schedule.parallel(schedule.fuse(*head))


def compute_where_read(schedule: Any, blocks: list[Any]) -> None:
    """Compute what is computed element by element where it is read."""
    for block in blocks:
        if all(int(axis.iter_type) == SPATIAL for axis in schedule.get(block).iter_vars):
            try:
                schedule.compute_inline(block)
            except tvm.s_tir.ScheduleError:  # it is an output, too
                continue


def flat_loops(block: Any) -> int:
    """Return how many of the innermost loops of a block go through memory as one.

    They do where every tensor is indexed by them in their order, over its whole extent, or by none of them.
    """
    axes, count = list(block.iter_vars), 1
    while count < len(axes) and all(_is_flat(region, axes[-count - 1 :]) for region in (*block.reads, *block.writes)):
        count += 1
    return count


def _is_flat(region: Any, axes: list[Any]) -> bool:
    inner, wide = region.region[-len(axes) :], [axis for axis in axes if int(axis.dom.extent) > 1]
    used = {var for r in region.region for axis in wide if (var := axis.var) in undefined_vars(r.min)}
    if not used:
        return True
    if len(inner) < len(axes) or not all(int(r.extent) == 1 for r in inner):
        return False
    sizes = [int(size) for size in region.source.shape[-len(axes) :]]
    pairs = zip(inner, axes, sizes, strict=True)
    return all(int(axis.dom.extent) == size and (size == 1 or r.min.same_as(axis.var)) for r, axis, size in pairs)


def _is_ours(function: Any) -> bool:
    mark = function.attrs.get("op_pattern") if function.attrs else None
    return mark is not None and int(mark) == OPAQUE
