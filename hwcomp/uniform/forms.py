"""In what a whole network can be computed on a GPU, by which runtime and provider."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from hwcomp.artifact import TVM
from hwcomp.config import Precision, Provider
from hwcomp.devices.agent.wishes import Wishes
from hwcomp.errors import InputError
from hwcomp.job import Job
from hwcomp.ops import op_of
from hwcomp.scheme import FLOAT
from hwcomp.target import Gpu, Target

ONNXRUNTIME = "onnxruntime"
RUNTIMES = {ONNXRUNTIME: "ONNX Runtime", TVM: "TVM"}
PROVIDERS: dict[Provider, str] = {"cpu": "", "cuda": ", CUDA", "tensorrt": ", TensorRT"}


def name_of(runtime: str, provider: Provider, precision: Precision) -> str:
    """Return what people read: "ONNX Runtime, TensorRT, int8"."""
    return f"{RUNTIMES[runtime]}{PROVIDERS[provider] if runtime == ONNXRUNTIME else ''}, {precision}"


INT8_OPS = ("conv2d", "linear", "add", "max_pool2d", "adaptive_avg_pool2d")
"""Operators that TensorRT fuses with Q/DQ pairs into kernels for integers (its documentation)."""

WEIGHT_ONLY = ("weight8", "weight4")
"""Schemes of linear layers whose products are float: for networks that wait for their weights."""

WHOLE_ATTENTION = ", attention in one kernel"

MOSTLY = 0.5
"""Share of a network's weights that must lie in linear layers for weight-only schemes to be tried unasked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One way to compute a whole network on a GPU.

    Attributes:
        precision: as the user names it.
        runtime: "onnxruntime" or "tvm".
        provider: of ONNX Runtime.
        scheme: of every operator that has it, see `hwcomp.scheme`.
        halves: whether the file itself computes in float16.
        permitted: precisions that TensorRT may choose where they are faster; the file has none of them.
        attention: whether each attention stays one operator.
    """

    precision: Precision
    runtime: str = ONNXRUNTIME
    provider: Provider = "cuda"
    scheme: str = FLOAT
    halves: bool = False
    permitted: tuple[str, ...] = ()
    attention: bool = False

    @property
    def name(self) -> str:
        """What people read."""
        return name_of(self.runtime, self.provider, self.precision) + (WHOLE_ATTENTION if self.attention else "")

    @property
    def wishes(self) -> Wishes:
        """How its file is to be run."""
        return Wishes(self.provider, self.permitted)

    @property
    def shows_its_rounding(self) -> bool:
        """Whether any processor that runs the file computes what the GPU does, up to the order of sums."""
        return self.runtime == ONNXRUNTIME and (not self.permitted or self.scheme != FLOAT)


FORMS = (
    Form(precision="float32"),
    Form(precision="float32", provider="tensorrt"),
    Form(precision="float32", runtime=TVM),
    Form(precision="float16", halves=True),
    Form(precision="float16", halves=True, attention=True),
    Form(precision="float16", provider="tensorrt", permitted=("float16",)),
    Form(precision="float16", runtime=TVM),
    Form(precision="bfloat16", provider="tensorrt", permitted=("bfloat16",)),
    Form(precision="int8", provider="tensorrt", scheme="int8", permitted=("int8", "float16")),
    Form(precision="weight8", scheme="weight8", halves=True),
    Form(precision="weight4", scheme="weight4", halves=True),
)
"""All that the runtimes have kernels for. ONNX Runtime's CUDA provider computes Q/DQ pairs in float, and has bfloat16
for some operators only; no provider here multiplies in fp8."""


def check_precision(job: Job) -> None:
    """Check that the target has the precision that was asked for, and the runtime has it, too.

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
    if not _has(gpu, asked):
        raise InputError(f"The target '{job.target.name}' multiplies in {', '.join(gpu.precisions)}, not in {asked}.")
    if job.config.runtime == TVM and not any(form.precision == asked and form.runtime == TVM for form in FORMS):
        raise InputError(f"--runtime tvm compiles for GPUs in float32 and float16, not in {asked}: leave one out.")


def _has(gpu: Gpu, precision: Precision) -> bool:
    """Return whether a GPU multiplies in a precision; weight-only schemes multiply in float16."""
    return ("float16" if precision in WEIGHT_ONLY else precision) in gpu.precisions


def whole_network_target(target: Target) -> Target:
    """Return a GPU as a target whose operators have the schemes that whole networks are made ready in.

    Its own schemes are those of methods that search for every operator.
    """
    schemes = {"int8": INT8_OPS, **dict.fromkeys(WEIGHT_ONLY, ("linear",))}
    return target.model_copy(update={"schemes": schemes, "activation": "int8_symmetric"})


def offered(job: Job, gpu: Gpu, *, timed: bool) -> Iterator[Form]:
    """Yield the forms to make for a GPU, in the order of `FORMS`.

    Without a device they are those whose rounding shows on a processor; if one precision was asked for, all of it.
    """
    asked, runtime = job.config.precision, job.config.runtime
    ops = {op_of(node) for node in job.original.nodes if node.op.startswith("call_")}
    for form in FORMS:
        if not _has(gpu, form.precision) or asked not in (None, form.precision):
            continue
        if runtime not in ("auto", form.runtime) or (form.attention and "attention" not in ops):
            continue
        if form.runtime == TVM and runtime != TVM and not timed:
            continue
        if asked is None and not timed and not (form.shows_its_rounding or form.runtime == TVM):
            continue
        if asked is None and form.precision == "float32" and form != FORMS[0] and _has(gpu, "float16"):
            continue
        if asked is None and form.precision in WEIGHT_ONLY and _linear_share(job) < MOSTLY:
            continue
        yield form


def _linear_share(job: Job) -> float:
    """Return the share of the weights that lie in linear layers."""
    sizes = {"linear": 0, "": 0}
    for module in job.network.module.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor):
            sizes["linear" if isinstance(module, nn.Linear) else ""] += weight.numel()
    return sizes["linear"] / max(1, sum(sizes.values()))
