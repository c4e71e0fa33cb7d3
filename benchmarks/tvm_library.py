"""Networks as libraries of TVM, as ``hwcomp compile --runtime tvm`` makes them, for what times or counts them."""

from torch import nn

from hwcomp.default_passes import default_passes
from hwcomp.fix import fix, plan
from hwcomp.lowering.plan import PlanOf, no_plan
from hwcomp.lowering.tvm import compile_library
from hwcomp.program import run_passes
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.stages import Stages, cache_root
from hwcomp.target import Target
from hwcomp.tracing import trace
from hwcomp.workload import Workload


def library(workload: Workload, model: nn.Module, target: Target, threads: int, plan_of: PlanOf = no_plan) -> bytes:
    """Return a model with a workload's inputs as a library for a target, by the plans of ``hwcomp tune`` if given."""
    program = run_passes(trace(model, workload.example_inputs), default_passes(target))
    return compile_library(
        fix(program, plan(program, {}, {}, {})), vectors_of(target.isa), threads, Stages(cache_root()), plan_of
    )
