"""A network compiled with TVM for a target, processor or GPU, with what its latency is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

from hwcomp.config import Precision
from hwcomp.devices import LOCAL
from hwcomp.errors import InputError
from hwcomp.job import Job
from hwcomp.lowering.tvm import compile_library
from hwcomp.lowering.tvm_cuda import GpuLibrary, compile_gpu_library
from hwcomp.program import Program
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.target import Gpu
from hwcomp.tuning.lookup import tuned_for


@dataclass(frozen=True, kw_only=True)
class Libraries:
    """A compiled network and its baseline.

    Attributes:
        content: the library.
        baseline: model of the float network: an ONNX file, or for a GPU a library in float32.
        against: who runs the baseline.
        precision: of products.
        notes: what is to be known of the library.
    """

    content: bytes
    baseline: bytes
    against: str
    precision: Precision
    notes: Sequence[str]


def check_precision(job: Job) -> None:
    """Check that the target has the precision that was asked for.

    Raises:
        InputError: it has not.
    """
    asked, gpu = job.config.precision, job.target.gpu
    if asked is None:
        return
    if gpu is None:
        raise InputError(
            f"--precision {asked} is for GPUs, and the target '{job.target.name}' is a processor, for which TVM's "
            "kernels are float32: leave it out, or give --target gpu."
        )
    if asked not in gpu.precisions:
        raise InputError(f"The target '{job.target.name}' multiplies in {', '.join(gpu.precisions)}, not in {asked}.")


def libraries(job: Job, program: Program, plain: bytes, *, timed: bool) -> Libraries:
    """Compile a program.

    Args:
        job: the compilation.
        program: without choices.
        plain: the float network as an ONNX file.
        timed: whether the baseline will be run.

    Raises:
        InputError: the target has no vectors that there are kernels for, or the tuning database is not for it.
        LoweringError: TVM cannot compile the network, or a compiler or linker for the target is missing.
    """
    if job.target.gpu is not None:
        return _for_gpu(job, job.target.gpu, program, plain, timed=timed)
    vectors, stage = vectors_of(job.target.isa), job.reporter.stage("Compile")
    tuned = tuned_for(vectors, job.threads, job.config.database, is_here=job.target.local or job.config.device == LOCAL)
    with stage.bar(f"TVM, for {vectors.cpu}", total=None):
        content = compile_library(program, vectors, job.threads, job.stages, tuned.plan_of)
    stage.done(f"a library of {len(content) / 2**20:.1f} MB for {vectors.triple}, {vectors.cpu}{tuned.told}")
    return Libraries(content=content, baseline=plain, against="ONNX Runtime", precision="float32", notes=[])


def _for_gpu(job: Job, gpu: Gpu, program: Program, plain: bytes, *, timed: bool) -> Libraries:
    if job.config.database is not None:
        raise InputError(f"--database holds schedules for processors, and the target '{job.target.name}' is a GPU.")
    precision: Precision = job.config.precision or "float32"
    stage = job.reporter.stage("Compile")

    def compiled(precision: Precision) -> GpuLibrary:
        with stage.bar(f"TVM, {precision} for {gpu.compute}", total=None):
            return compile_gpu_library(program, gpu.compute, job.target.machine, precision)

    library = compiled(precision)
    size = f"{len(library.content) / 2**20:.1f} MB"
    stage.done(f"a library of {size} for {gpu.compute}, {precision}, {len(library.kernels)} kernels")
    started = f"A run starts {len(library.kernels)} kernels"
    graph = f", {library.captured} of them together as a CUDA graph that the first run records"
    notes = [f"{started}{graph if library.captured else ''}."]
    baseline = plain
    if timed:
        baseline = library.content if precision == "float32" else compiled("float32").content
        notes.append("The baseline is the same network as a library of TVM for the GPU in float32.")
    return Libraries(
        content=library.content, baseline=baseline, against="TVM, float32,", precision=precision, notes=notes
    )
