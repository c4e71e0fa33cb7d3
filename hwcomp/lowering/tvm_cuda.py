"""TVM for NVIDIA GPUs: a program becomes one library whose kernels are machine code of the GPU."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwcomp.config import Precision
from hwcomp.errors import LoweringError
from hwcomp.lowering.tvm import ENTRY, last_line, program_signature, translated
from hwcomp.lowering.tvm_cuda_code import Kernels, kernels_for
from hwcomp.lowering.tvm_cuda_nvcc import check_compute
from hwcomp.lowering.tvm_link import linker, signed, write_library
from hwcomp.program import Program

HOSTS = {"x86_64": "x86-64", "aarch64": "generic"}
"""Machine -> oldest processor of it, as LLVM names it: the processor only starts kernels."""

WARP, SHARED_BYTES = 32, 49152
"""Threads that run together, and memory that a block has on every GPU without asking (CUDA programming guide)."""


@dataclass(frozen=True, kw_only=True)
class GpuLibrary:
    """A network as a library for a GPU.

    Attributes:
        content: the file.
        kernels: that one run starts, by the order they run in.
        captured: how many of them a CUDA graph starts together; 0 without one.
    """

    content: bytes
    kernels: tuple[str, ...]
    captured: int


def compile_gpu_library(
    program: Program, compute: str, machine: str, precision: Precision = "float32", *, graphs: bool = True
) -> GpuLibrary:
    """Return a program without choices as a shared library that TVM's runtime runs on a GPU; no GPU is needed here.

    Products run in ``precision``, sums in float32; inputs and outputs stay what they are. What the library takes and
    gives stands at its end, see `hwcomp.lowering.tvm_link`.

    Args:
        program: without choices, see `hwcomp.fix`.
        compute: architecture of the GPU, "sm_90a" say.
        machine: of the processor beside it, as ``platform.machine()`` names it.
        precision: of products.
        graphs: start what can be started together as one CUDA graph, recorded at the first run.

    Raises:
        LoweringError: TVM cannot translate, schedule or compile the program; nvcc is missing or too old for the GPU; or
            there is no linker for the machine.
    """
    linker(machine)  # what is missing is told before minutes of work
    check_cuda()
    check_compute(compute)
    target = gpu_target(compute, machine)
    scheduled = scheduled_module(program, target, precision)
    with kernels_for(compute) as kernels:
        executable, final = _built(scheduled, target, kernels, graphs=graphs)
    with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
        library = kernels.put_into(write_library(executable, machine, [], Path(folder)))
    facts = {"device": "cuda", "compute": compute, "precision": precision}
    started = kernel_calls(final)
    return GpuLibrary(
        content=signed(library, program_signature(program) | facts, []),
        kernels=tuple(name for names in started.values() for name in names),
        captured=sum(len(names) for function, names in started.items() if function != ENTRY),
    )


def check_cuda() -> None:
    """See that TVM can generate code for NVIDIA GPUs.

    Raises:
        LoweringError: this build of it cannot.
    """
    import tvm  # noqa: PLC0415 - heavy, and needed only where something is compiled

    found = str(tvm.support.libinfo().get("USE_CUDA", "not told"))
    if found.upper() in ("OFF", "0", "FALSE", "NO", "NOT TOLD"):
        raise LoweringError(
            f"This build of TVM has no code generator for NVIDIA GPUs (USE_CUDA is {found}): install the package "
            "'apache-tvm' from PyPI."
        )


def gpu_target(compute: str, machine: str) -> Any:
    """Return what TVM must know of a GPU and of the processor beside it."""
    import tvm  # noqa: PLC0415 - see above

    from hwcomp.lowering.relax_cuda_schedule import THREADS  # noqa: PLC0415 - imports TVM

    return tvm.target.Target(
        {
            "kind": "cuda",
            "arch": compute.rstrip("af"),  # TVM's rules know tensor cores by a number alone; nvcc gets the whole name
            "thread_warp_size": WARP,
            "max_threads_per_block": THREADS,
            "max_shared_memory_per_block": SHARED_BYTES,
            "host": {"kind": "llvm", "mtriple": f"{machine}-unknown-linux-gnu", "mcpu": HOSTS[machine]},
        }
    )


def scheduled_module(program: Program, target: Any, precision: Precision) -> Any:
    """Return a program as a Relax module whose functions are bound to threads of a GPU.

    Raises:
        LoweringError: TVM has no translation of an operator, or no schedule.
    """
    from hwcomp.lowering.relax_cuda_graph import fused_module  # noqa: PLC0415 - imports TVM
    from hwcomp.lowering.relax_cuda_schedule import schedule_for_gpu  # noqa: PLC0415 - likewise

    with target:
        return schedule_for_gpu(fused_module(translated(program), precision, ENTRY), target)


def _built(module: Any, target: Any, kernels: Kernels, *, graphs: bool) -> tuple[Any, Any]:
    """Return an executable, and the module that it was made from."""
    import tvm  # noqa: PLC0415 - see above
    from tvm import relax  # noqa: PLC0415

    transform = relax.transform
    steps = [
        transform.ToNonDataflow(),
        transform.RemovePurityChecking(),
        transform.CallTIRRewrite(),
        transform.StaticPlanBlockMemory(),
        *([transform.RewriteCUDAGraph()] if graphs else []),
        transform.LowerAllocTensor(),
        transform.KillAfterLastUse(),
        transform.LowerRuntimeBuiltin(),
        transform.ComputePrimValue(),
        transform.VMShapeLower(),
        transform.AttachGlobalSymbol(),
    ]
    options = {"relax.backend.use_cuda_graph": graphs}
    with target, tvm.transform.PassContext(config=options):
        try:
            final = tvm.transform.Sequential(steps)(module)
            return tvm.compile(final, target=target, relax_pipeline=None), final
        except Exception as error:  # TVM raises classes of its own that share no base
            raise kernels.error or LoweringError(f"TVM cannot compile the network: {last_line(error)}") from error


def kernel_calls(module: Any) -> dict[str, list[str]]:
    """Return function of the virtual machine -> kernels that it starts; all but the entry are recorded as graphs."""
    from tvm import relax, tirx  # noqa: PLC0415 - see above

    kernels = {name for name, function in module.functions_items() if isinstance(function, tirx.PrimFunc)}
    found: dict[str, list[str]] = {}
    for name, function in module.functions_items():
        if isinstance(function, relax.Function):
            called: list[str] = []
            relax.analysis.post_order_visit(
                function, lambda e, called=called: called.append(e.op.name_hint) if _starts(e, kernels) else None
            )
            found[name.name_hint] = called
    return found


def _starts(expression: Any, kernels: set[Any]) -> bool:
    from tvm import ir, relax  # noqa: PLC0415 - see above

    return isinstance(expression, relax.Call) and isinstance(expression.op, ir.GlobalVar) and expression.op in kernels
