"""A network as it is, in one precision throughout, made ready for each runtime that may run it on a target."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hwcomp.artifact import TVM
from hwcomp.config import Precision, Provider
from hwcomp.devices import LOCAL
from hwcomp.devices.agent.wishes import Wishes
from hwcomp.errors import InputError, LoweringError
from hwcomp.job import Job
from hwcomp.lowering.halves import in_halves
from hwcomp.lowering.metadata import with_wishes, without_wishes
from hwcomp.lowering.onnx_export import WHOLE_ATTENTION_OPSET, export_plain
from hwcomp.lowering.tvm import compile_library
from hwcomp.lowering.tvm_cuda import GpuLibrary, compile_gpu_library
from hwcomp.prepared import Prepared
from hwcomp.program import Program
from hwcomp.scheme import FLOAT
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.subject import to_bytes
from hwcomp.target import Gpu
from hwcomp.tuning.lookup import tuned_for
from hwcomp.uniform.forms import ONNXRUNTIME, WHOLE_ATTENTION, Form, name_of, offered

PACKAGES = {ONNXRUNTIME: "onnxruntime", TVM: "apache-tvm"}
NOTHING_FOR_IT = "The network has no operator that has the precision asked for; leave --precision out."


@dataclass(frozen=True, kw_only=True)
class Version:
    """A network for one runtime.

    Attributes:
        runtime: as the manifest names it.
        provider: what computes, "cpu" for a processor, also where TVM compiled for it.
        content: the file: ONNX, or a library of TVM.
        precision: of products.
        assignment: site -> scheme, of the sites that are quantised.
        wishes: how a file is to be run on a GPU.
        is_checkable: whether a processor that runs the file computes what the target does.
        what: what else tells it from others.
        notes: what is to be known of it.
    """

    runtime: str
    provider: Provider = "cpu"
    content: bytes = field(repr=False)
    precision: Precision
    assignment: Mapping[str, str] = field(default_factory=dict)
    wishes: Wishes | None = None
    is_checkable: bool = False
    what: str = ""
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """What people read."""
        return name_of(self.runtime, self.provider, self.precision) + self.what

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
        refused: name of a version that could not be made -> why.
        notes: what else was found out.
    """

    offered: Sequence[Version]
    baseline: Version
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def library_for_processor(job: Job, program: Program, plain: bytes) -> Versions:
    """Compile a program with TVM for a processor.

    Raises:
        InputError: the target has no vectors that there are kernels for, or the tuning database is not for it.
        LoweringError: TVM cannot have the network, or a compiler or linker for the target is missing.
    """
    vectors, stage = vectors_of(job.target.isa), job.reporter.stage("Compile")
    tuned = tuned_for(vectors, job.threads, job.config.database, is_here=job.target.local or job.config.device == LOCAL)
    with stage.bar(f"TVM, for {vectors.cpu}", total=None):
        content = compile_library(program, vectors, job.threads, job.stages, tuned.plan_of)
    stage.done(f"a library of {_size(content)} for {vectors.triple}, {vectors.cpu}{tuned.told}")
    library = Version(runtime=TVM, content=content, precision="float32")
    return Versions(offered=[library], baseline=Version(runtime=ONNXRUNTIME, content=plain, precision="float32"))


def versions_for_gpu(job: Job, gpu: Gpu, program: Program, prepared: Prepared, *, timed: bool) -> Versions:
    """Make a network ready in every form that was asked for; those that cannot be made are told.

    Args:
        job: the compilation.
        gpu: that they are for.
        program: without choices.
        prepared: the same with choices, calibrated.
        timed: whether they will be run.

    Raises:
        InputError: a database of schedules was given, or no operator has the precision that was asked for.
        LoweringError: the network cannot be had in any of the forms.
    """
    if job.config.database is not None:
        raise InputError(f"--database holds schedules for processors, and the target '{job.target.name}' is a GPU.")
    made: list[Version] = []
    refused: dict[str, str] = {}
    for form in offered(job, gpu, timed=timed):
        try:
            version = _library(job, gpu, program, form) if form.runtime == TVM else _file(job, prepared, form)
        except LoweringError as error:
            refused[form.name] = str(error)
            continue
        made += [] if version is None else [version]
    if not made and not refused:
        raise InputError(NOTHING_FOR_IT)
    if not made:
        raise LoweringError(" ".join(refused.values()))
    plain = Version(runtime=ONNXRUNTIME, provider=gpu.provider, content=prepared.plain, precision="float32")
    if job.config.runtime != TVM or not timed:
        return Versions(offered=made, baseline=plain, refused=refused)
    own = next((one for one in made if one.precision == "float32"), None)
    own = own or _library(job, gpu, program, Form(precision="float32", runtime=TVM))
    note = "The baseline is the same network as a library of TVM for the GPU in float32."
    return Versions(offered=made, baseline=own, refused=refused, notes=[note])


def _file(job: Job, prepared: Prepared, form: Form) -> Version | None:
    """Return the ONNX file of a form; None if it is no other than that of another form."""
    assignment = {}
    if form.scheme != FLOAT:
        chosen = prepared.space.everywhere(form.scheme)
        assignment = {site: scheme for site, scheme in chosen.items() if scheme == form.scheme}
        if not assignment:
            return None
        content = prepared.lower(assignment)
    elif form.attention:
        inputs, names = job.workload.example_inputs, list(prepared.feed)
        whole = export_plain(job.workload.model, inputs, names, opset=WHOLE_ATTENTION_OPSET)
        if not any(node.op_type == "Attention" for node in whole.graph):
            return None
        content = to_bytes(whole)
    else:
        content = prepared.plain
    content = in_halves(content) if form.halves else content
    return Version(
        runtime=ONNXRUNTIME,
        provider=form.provider,
        content=with_wishes(content, form.wishes),
        precision=form.precision,
        assignment=assignment,
        wishes=form.wishes,
        is_checkable=form.shows_its_rounding,
        what=WHOLE_ATTENTION if form.attention else "",
    )


def _library(job: Job, gpu: Gpu, program: Program, form: Form) -> Version:
    stage = job.reporter.stage("Compile")
    precision = form.precision
    with stage.bar(f"TVM, {precision} for {gpu.compute}", total=None):
        library: GpuLibrary = compile_gpu_library(program, gpu.compute, job.target.machine, precision)
    size, kernels = _size(library.content), len(library.kernels)
    stage.done(f"a library of {size} for {gpu.compute}, {precision}, {kernels} kernels")
    graph = f", {library.captured} of them together as a CUDA graph that the first run records"
    note = f"A run starts {kernels} kernels{graph if library.captured else ''}."
    return Version(runtime=TVM, provider=gpu.provider, content=library.content, precision=precision, notes=[note])


def rebuilt(version: Version, content: bytes, assignment: Mapping[str, str], what: str) -> Version:
    """Return a version with another file of the same kind, which has the same wishes."""
    assert version.wishes is not None
    return replace(version, content=with_wishes(content, version.wishes), assignment=assignment, what=what)


def captured(version: Version) -> Version | None:
    """Return the same version with its kernels started together as a CUDA graph; None if it has none or is one."""
    if version.wishes is None or version.wishes.graph:
        return None
    wishes = replace(version.wishes, graph=True)
    content = with_wishes(without_wishes(version.content, version.wishes), wishes)
    return replace(version, content=content, wishes=wishes, what=f"{version.what}, as a CUDA graph")


def _size(content: bytes) -> str:
    return f"{len(content) / 2**20:.1f} MB"
