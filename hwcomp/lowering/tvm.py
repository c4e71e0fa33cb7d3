"""TVM: a program becomes one library that runs with TVM's runtime alone."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from hwcomp.errors import LoweringError
from hwcomp.lowering.plan import PlanOf, no_plan
from hwcomp.lowering.tvm_link import linker, signed, write_library
from hwcomp.program import Program
from hwcomp.sparse_kernels.library import NEEDS
from hwcomp.sparse_kernels.tir_build import Vectors, tile_object
from hwcomp.stages import Stages

ENTRY = "main"


def compile_library(
    program: Program, vectors: Vectors, threads: int, stages: Stages, plan_of: PlanOf = no_plan
) -> bytes:
    """Return a program without choices as a shared library that TVM's runtime alone can run.

    Products run in our own kernels, sparse ones where their weights have zeros; everything else is what TVM generates,
    scheduled by `hwcomp.lowering.relax_schedule`, or as `hwcomp tune` found it fastest. Integers are not used: TVM's
    Relax has no fusion of them. What it takes and gives stands at its end, see `hwcomp.lowering.tvm_link`.

    Args:
        program: without choices, see `hwcomp.fix`.
        vectors: of the target.
        threads: that the kernels' work is divided for.
        stages: where compiled kernels are kept.
        plan_of: function that TVM generated -> its tuned schedule.

    Raises:
        LoweringError: TVM cannot translate or compile the program, or there is no linker for the target.
    """
    import tvm  # noqa: PLC0415 - heavy, and needed only where something is compiled

    from hwcomp.lowering.relax_plans import with_schedules  # noqa: PLC0415 - imports TVM

    machine = vectors.triple.partition("-")[0]
    linker(machine)  # missing ones are told before minutes of work
    module = with_schedules(relax_module(program, vectors, threads), vectors.lanes, threads, plan_of)
    try:
        executable = tvm.compile(module, target=tvm.target.Target(target_of(vectors, threads)))
    except Exception as error:  # TVM raises classes of its own that share no base
        raise LoweringError(f"TVM cannot compile the network: {last_line(error)}") from error
    with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
        library = write_library(executable, machine, [tile_object(vectors, stages)], Path(folder))
    return signed(library, program_signature(program), NEEDS.get(vectors.cpu, sorted(vectors.flags)))


def target_of(vectors: Vectors, threads: int) -> dict[str, Any]:
    """Return what TVM compiles for, as it takes it.

    Args:
        vectors: of the machine.
        threads: that share the work.
    """
    return {"kind": "llvm", "mtriple": vectors.triple, "mcpu": vectors.cpu, "num-cores": threads}


def program_signature(program: Program) -> dict[str, list[dict[str, Any]]]:
    """Return the names, shapes and types of a program's inputs and outputs."""
    names = [node.name for node in program.nodes if node.op == "placeholder"]
    with torch.no_grad():
        made = program.module.eval()(*program.example_inputs)
    outputs = made if isinstance(made, tuple | list) else (made,)
    ends = ["output"] if len(outputs) == 1 else [f"output_{number}" for number in range(len(outputs))]
    return {
        "inputs": [_described(*pair) for pair in zip(names, program.example_inputs, strict=True)],
        "outputs": [_described(*pair) for pair in zip(ends, outputs, strict=True)],
    }


def _described(name: str, tensor: torch.Tensor) -> dict[str, Any]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    kind = f"tensor({'float' if dtype == 'float32' else dtype})"  # as ONNX Runtime says it
    return {"name": name, "shape": list(tensor.shape), "dtype": dtype, "type": kind}


def last_line(error: BaseException) -> str:
    """Return the last line of an error of TVM: what went wrong, below where it did."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def translated(program: Program) -> Any:
    """Return a program as TVM's front end translates it to Relax.

    Raises:
        LoweringError: TVM has no translation of an operator.
    """
    from tvm.relax.frontend.torch import from_exported_program  # noqa: PLC0415 - see above

    exported = torch.export.export(program.module.eval(), program.example_inputs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TVM calls what PyTorch is about to rename
            return from_exported_program(exported)
    except (NotImplementedError, AssertionError, RuntimeError) as error:
        raise LoweringError(f"TVM cannot translate the network: {last_line(error)}") from error


def relax_module(program: Program, vectors: Vectors, threads: int) -> Any:
    """Return a program as a Relax module with our kernels in it; the rest has no schedules yet.

    Raises:
        LoweringError: TVM has no translation of an operator.
    """
    import tvm  # noqa: PLC0415 - see above
    from tvm import relax  # noqa: PLC0415

    from hwcomp.lowering.relax_convolutions import ReplaceConvolutions  # noqa: PLC0415 - imports TVM
    from hwcomp.lowering.relax_kernels import ConvolutionKernels  # noqa: PLC0415 - likewise
    from hwcomp.lowering.relax_legalize import Legalizer  # noqa: PLC0415 - likewise

    simplify = tvm.transform.Sequential([relax.transform.CanonicalizeBindings(), relax.transform.FoldConstant()])
    kernels = ConvolutionKernels(vectors=vectors, threads=threads)
    module = ReplaceConvolutions(simplify(translated(program)), kernels.takes, kernels).rewritten()
    own = Legalizer(vectors=vectors, threads=threads).operators()
    lower = tvm.transform.Sequential(
        [
            relax.transform.LegalizeOps(own),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination([ENTRY]),
        ]
    )
    return lower(module)
