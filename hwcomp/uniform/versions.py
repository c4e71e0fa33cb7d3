"""A network as it is, in one precision throughout, made ready for each runtime that may run it on a target."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass

from hwcomp.artifact import TVM
from hwcomp.config import Precision
from hwcomp.devices import LOCAL
from hwcomp.errors import InputError, LoweringError
from hwcomp.job import Job
from hwcomp.lowering.halves import in_halves
from hwcomp.lowering.tvm import compile_library
from hwcomp.lowering.tvm_cuda import GpuLibrary, compile_gpu_library
from hwcomp.program import Program
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.target import Gpu
from hwcomp.tuning.lookup import tuned_for

ONNXRUNTIME = "onnxruntime"
NAMES = {ONNXRUNTIME: "ONNX Runtime", TVM: "TVM"}
PACKAGES = {ONNXRUNTIME: "onnxruntime", TVM: "apache-tvm"}


@dataclass(frozen=True, kw_only=True)
class Version:
    """A network for one runtime.

    Attributes:
        runtime: as the manifest names it.
        content: the file: ONNX, or a library of TVM.
        precision: of products.
        notes: what is to be known of it.
    """

    runtime: str
    content: bytes
    precision: Precision
    notes: Sequence[str] = ()

    @property
    def is_portable(self) -> bool:
        """Whether any processor can run it, whatever it is for: an ONNX file."""
        return self.runtime == ONNXRUNTIME

    @property
    def runtime_version(self) -> str:
        """What the file was made with."""
        return importlib.metadata.version(PACKAGES[self.runtime])


@dataclass(frozen=True, kw_only=True)
class Versions:
    """A network for the runtimes that are to be compared.

    Attributes:
        offered: at least one.
        baseline: the float32 network.
        notes: what else was found out.
    """

    offered: Sequence[Version]
    baseline: Version
    notes: Sequence[str] = ()


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
            f"--precision {asked} is for GPUs, and the target '{job.target.name}' is a processor, for which hwcomp "
            "chooses the precision of each operator: leave it out, or give --target gpu."
        )
    if asked not in gpu.precisions:
        raise InputError(f"The target '{job.target.name}' multiplies in {', '.join(gpu.precisions)}, not in {asked}.")


def versions(job: Job, program: Program, plain: bytes, *, timed: bool) -> Versions:
    """Lower a program for the runtimes that were asked for.

    Args:
        job: the compilation.
        program: without choices.
        plain: the float network as an ONNX file.
        timed: whether they will be run.

    Raises:
        InputError: the target has no vectors that there are kernels for, or the tuning database is not for it.
        LoweringError: a runtime cannot have the network, or a compiler or linker for the target is missing.
    """
    if job.target.gpu is not None:
        return _for_gpu(job, job.target.gpu, program, plain, timed=timed)
    vectors, stage = vectors_of(job.target.isa), job.reporter.stage("Compile")
    tuned = tuned_for(vectors, job.threads, job.config.database, is_here=job.target.local or job.config.device == LOCAL)
    with stage.bar(f"TVM, for {vectors.cpu}", total=None):
        content = compile_library(program, vectors, job.threads, job.stages, tuned.plan_of)
    stage.done(f"a library of {_size(content)} for {vectors.triple}, {vectors.cpu}{tuned.told}")
    return Versions(offered=[Version(runtime=TVM, content=content, precision="float32")], baseline=_onnx(plain))


def _for_gpu(job: Job, gpu: Gpu, program: Program, plain: bytes, *, timed: bool) -> Versions:
    """Lower a program for ONNX Runtime, for TVM, or, where they can be compared, for both."""
    if job.config.database is not None:
        raise InputError(f"--database holds schedules for processors, and the target '{job.target.name}' is a GPU.")
    precision: Precision = job.config.precision or "float32"
    runtime = job.config.runtime
    if runtime == TVM:
        library = _library(job, gpu, program, precision)
        if not timed or precision == "float32":
            return Versions(offered=[library], baseline=library if timed else _onnx(plain))
        note = "The baseline is the same network as a library of TVM for the GPU in float32."
        return Versions(offered=[library], baseline=_library(job, gpu, program, "float32"), notes=[note])
    file = _onnx(plain) if precision == "float32" else _onnx(in_halves(plain), precision)
    job.reporter.stage("Convert").done(f"an ONNX file of {_size(file.content)}, {precision}")
    if runtime == ONNXRUNTIME or not timed:
        return Versions(offered=[file], baseline=_onnx(plain))
    try:
        return Versions(offered=[file, _library(job, gpu, program, precision)], baseline=_onnx(plain))
    except LoweringError as error:
        return Versions(offered=[file], baseline=_onnx(plain), notes=[f"TVM was not compared: {error}"])


def _onnx(content: bytes, precision: Precision = "float32") -> Version:
    return Version(runtime=ONNXRUNTIME, content=content, precision=precision)


def _library(job: Job, gpu: Gpu, program: Program, precision: Precision) -> Version:
    stage = job.reporter.stage("Compile")
    with stage.bar(f"TVM, {precision} for {gpu.compute}", total=None):
        library: GpuLibrary = compile_gpu_library(program, gpu.compute, job.target.machine, precision)
    size, kernels = _size(library.content), len(library.kernels)
    stage.done(f"a library of {size} for {gpu.compute}, {precision}, {kernels} kernels")
    graph = f", {library.captured} of them together as a CUDA graph that the first run records"
    note = f"A run starts {kernels} kernels{graph if library.captured else ''}."
    return Version(runtime=TVM, content=library.content, precision=precision, notes=[note])


def _size(content: bytes) -> str:
    return f"{len(content) / 2**20:.1f} MB"
