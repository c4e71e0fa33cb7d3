"""Schedules of fused functions for GPUs: which loop runs on which thread, and what is kept close to it."""

from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir.dlight import gpu

from hwcomp.errors import LoweringError

THREADS = 256
"""Of a block where each thread computes one output: small tensors still spread over many multiprocessors."""

SCHEDULED = "tirx.is_scheduled"
"""TVM's mark of functions that are ready."""


def schedule_for_gpu(module: Any, target: Any) -> Any:
    """Return a module whose functions have the schedule of the first rule that takes them.

    Before: nested loops over each tensor; after: loops that are bound to blocks and threads. The rules are TVM's, from
    the most to the least special: products of matrices and convolutions as such products (in tiles, in tensor cores
    where they are halves), products with a vector, sums that a block's threads share, one thread for each output.

    Args:
        module: see `hwcomp.lowering.relax_cuda_graph`.
        target: of TVM.

    Raises:
        LoweringError: no rule takes a function.
    """
    module = tvm.IRModule(module.functions, attrs=module.attrs)
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            module[name] = _scheduled(name.name_hint, function, target)
    return module


def _scheduled(name: str, function: Any, target: Any) -> Any:
    for rule in (gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback()):
        try:
            schedule = rule.apply(function, target, False)  # noqa: FBT003 - TVM's interface
        except (AssertionError, ValueError, tvm.s_tir.ScheduleError):
            continue  # the function only looked like what the rule is for
        if schedule is not None and is_bound(schedule):
            return schedule.mod["main"].with_attr(SCHEDULED, True)  # noqa: FBT003 - likewise
    raise LoweringError(
        f"TVM has no schedule for GPUs for '{name}', a part of the network; compile it for --runtime onnxruntime."
    )


def is_bound(schedule: Any) -> bool:
    """Return whether all of a function runs on threads of a GPU."""
    blocks = schedule.get_child_blocks(schedule.get_sblock("root", func_name="main"))
    return all(
        any(schedule.get(loop).thread_binding is not None for loop in schedule.get_loops(block)) for block in blocks
    )
