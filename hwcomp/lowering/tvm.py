"""TVM: a program becomes one library that runs with TVM's runtime alone."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from hwcomp.errors import LoweringError
from hwcomp.program import Program
from hwcomp.sparse_kernels.tir_build import Vectors, tile_object
from hwcomp.stages import Stages

ENTRY = "main"


def compile_library(program: Program, vectors: Vectors, threads: int, stages: Stages) -> bytes:
    """Return a program without choices as a shared library.

    Products run in our own kernels, sparse ones where their weights have zeros; everything else is what TVM generates,
    scheduled by `hwcomp.lowering.relax_schedule`. Integers are not used: TVM's Relax has no fusion of them.

    Args:
        program: without choices, see `hwcomp.fix`.
        vectors: of the target.
        threads: that the kernels' work is divided for.
        stages: where compiled kernels are kept.

    Raises:
        LoweringError: TVM cannot translate or compile the program.
    """
    import tvm  # noqa: PLC0415 - heavy, and needed only where something is compiled

    target = tvm.target.Target({"kind": "llvm", "mtriple": vectors.triple, "mcpu": vectors.cpu, "num-cores": threads})
    module = relax_module(program, vectors, threads)
    try:
        executable = tvm.compile(module, target=target)
    except Exception as error:  # TVM raises classes of its own that share no base
        raise LoweringError(f"TVM cannot compile the network: {str(error).strip().splitlines()[-1]}") from error
    with tempfile.TemporaryDirectory() as folder:
        tiles, library = Path(folder) / "tiles.o", Path(folder) / "model.so"
        tiles.write_bytes(tile_object(vectors, stages))
        executable.export_library(str(library), addons=[str(tiles)])
        return library.read_bytes()


def relax_module(program: Program, vectors: Vectors, threads: int) -> Any:
    """Return a program as a Relax module with our kernels in it, and schedules for the rest.

    Raises:
        LoweringError: TVM has no translation of an operator.
    """
    import tvm  # noqa: PLC0415 - see above
    from tvm import relax  # noqa: PLC0415
    from tvm.relax.frontend.torch import from_exported_program  # noqa: PLC0415

    from hwcomp.lowering.relax_convolutions import ReplaceConvolutions  # noqa: PLC0415 - imports TVM
    from hwcomp.lowering.relax_kernels import ConvolutionKernels  # noqa: PLC0415 - likewise
    from hwcomp.lowering.relax_legalize import Legalizer  # noqa: PLC0415 - likewise
    from hwcomp.lowering.relax_schedule import ScheduleForCpu  # noqa: PLC0415 - likewise

    exported = torch.export.export(program.module.eval(), program.example_inputs)
    try:
        module = from_exported_program(exported)
    except (NotImplementedError, AssertionError, tvm.error.TVMError) as error:
        raise LoweringError(f"TVM cannot translate the network: {str(error).strip().splitlines()[-1]}") from error
    simplify = tvm.transform.Sequential([relax.transform.CanonicalizeBindings(), relax.transform.FoldConstant()])
    kernels = ConvolutionKernels(vectors=vectors, threads=threads)
    module = ReplaceConvolutions(simplify(module), kernels.takes, kernels).rewritten()
    own = Legalizer(vectors=vectors, threads=threads).operators()
    lower = tvm.transform.Sequential(
        [
            relax.transform.LegalizeOps(own),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination([ENTRY]),
            ScheduleForCpu(vectors.lanes),
        ]
    )
    return lower(module)
