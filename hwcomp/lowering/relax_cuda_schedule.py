"""Schedules of fused functions for GPUs: which loop runs on which thread, and what is kept close to it."""

from math import prod
from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.dlight import gpu
from tvm.s_tir.dlight.gpu.matmul import IterKind, MatmulTensorization, detect_iter_traits, get_in_out_dtypes

from hwcomp.errors import LoweringError
from hwcomp.lowering.relax_cuda_intrinsics import load_intrinsics
from hwcomp.lowering.relax_schedule import blocks_of

THREADS = 256
"""Of a block where each thread computes one output: small tensors still spread over many multiprocessors."""

MIN_SHARED = 64
"""Sums from this length on are shared by threads; one of a window, of pooling or one channel, is left to one thread."""

SHARING = (gpu.GEMV().apply, gpu.Reduction().apply, gpu.GeneralReduction().apply)
"""Rules of TVM for sums that the threads of a block share."""

MIN_TENSOR = 32
"""Rows, columns and summands from which on tiles of tensor cores are assumed to pay; not measured."""

MATRIX = (IterKind.kIter_I, IterKind.kIter_J, IterKind.kIter_K)
"""What TVM calls rows, columns and summands of a product."""

HALF, NO_TENSOR = "float16", "dlight.do_not_tensorize"
"""Number format of what tensor cores multiply here, and TVM's mark of functions that shall not use them."""

TENSOR_ARCHITECTURE = 80
"""Before it a block has less shared memory than the tiles need (CUDA programming guide, 64 KiB for 7.5)."""

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
    for rule in (tensor_cores, tiles, windows, *SHARING, gpu.Fallback().apply):
        try:
            schedule = rule(function, target, False)  # noqa: FBT003 - TVM's interface
        except (AssertionError, ValueError, tvm.s_tir.ScheduleError):
            continue  # the function only looked like what the rule is for
        if schedule is not None and is_bound(schedule):
            return schedule.mod["main"].with_attr(SCHEDULED, True)  # noqa: FBT003 - likewise
    raise LoweringError(
        f"TVM has no schedule for GPUs for '{name}', a part of the network; compile it for --runtime onnxruntime."
    )


def tensor_cores(function: Any, target: Any, tunable: bool) -> Any:  # noqa: FBT001 - TVM's interface
    """Return the schedule of a product of halves in tensor cores, None for anything else.

    TVM's own choice leaves out sizes up to 64, the widths of many layers; tiles are 128 by 128, so what is smaller is
    filled up.
    """
    block = _product(function)
    if block is None or int(str(target.attrs["arch"]).removeprefix("sm_")) < TENSOR_ARCHITECTURE:
        return None
    traits = detect_iter_traits(block)
    if traits is None or get_in_out_dtypes(block)[0] != HALF:
        return None
    sizes = {kind: prod(int(t.extent) for t in traits[3] if t.kind == kind) for kind in MATRIX}
    if min(sizes.values()) < MIN_TENSOR:
        return None
    load_intrinsics()
    return MatmulTensorization().apply(function, target, tunable)


def tiles(function: Any, target: Any, tunable: bool) -> Any:  # noqa: FBT001 - likewise
    """Return the schedule of a product in tiles that threads multiply, None for anything else.

    TVM's rule would use tensor cores where their tiles do not fit, too; those are for `tensor_cores`.
    """
    block = _product(function)
    if block is not None and get_in_out_dtypes(block)[0] == HALF:
        load_intrinsics()
        function = function.with_attr(NO_TENSOR, True)  # noqa: FBT003 - likewise
    return gpu.Matmul().apply(function, target, tunable)


def _product(function: Any) -> Any:
    """Return the only block of a function that sums, of two tensors; None if there is none."""
    schedule = Schedule(function)
    sums = [block for block in map(schedule.get, blocks_of(schedule)) if _sums(block)]
    return sums[0] if len(sums) == 1 and len(sums[0].reads) == 2 else None


def windows(function: Any, _target: Any, _tunable: bool) -> Any:  # noqa: FBT001 - likewise
    """Return the schedule of short sums, one thread for each: pooling, convolutions of one channel each.

    Before: ``pad; sum; bias; activation`` one after the other; after: all of them for one output in one thread, whose
    neighbours have the next channels.
    """
    schedule = Schedule(function)
    sums = [block for block in blocks_of(schedule) if _sums(schedule.get(block))]
    if len(sums) != 1 or prod(_sums(schedule.get(sums[0]))) >= MIN_SHARED:
        return None
    others = [block for block in blocks_of(schedule) if not _sums(schedule.get(block))]
    for block in others[:-1] if schedule.get_consumers(sums[0]) else others:
        schedule.compute_inline(block)
    if schedule.get_consumers(sums[0]):
        end = others[-1]
        schedule.set_scope(sums[0], 0, "local")
    else:
        end = schedule.cache_write(sums[0], 0, "local")
    outer, inner = schedule.split(schedule.fuse(*schedule.get_loops(end)), [None, THREADS])
    schedule.bind(outer, "blockIdx.x")
    schedule.bind(inner, "threadIdx.x")
    schedule.compute_at(sums[0], inner)
    first = len(schedule.get_loops(sums[0])) - len(_sums(schedule.get(sums[0])))
    schedule.decompose_reduction(sums[0], schedule.get_loops(sums[0])[first])
    return schedule


def _sums(block: Any) -> list[int]:
    """Return over how many numbers a block sums along each of its axes; nothing if it does not."""
    return [int(axis.dom.extent) for axis in block.iter_vars if axis.iter_type == axis.CommReduce]


def is_bound(schedule: Any) -> bool:
    """Return whether all of a function runs on threads of a GPU."""
    return all(
        any(schedule.get(loop).thread_binding is not None for loop in schedule.get_loops(block))
        for block in blocks_of(schedule)
    )
