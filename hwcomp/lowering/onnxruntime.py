"""ONNX Runtime on the CPU: sessions, inputs, and which site each of its kernels belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from hwcomp.errors import InputError, LoweringError
from hwcomp.lowering.embedded import extract, installed

if TYPE_CHECKING:
    import onnxruntime

Array = NDArray[np.generic]
Feed = Mapping[str, Array]

LAYOUT_OPS = frozenset({"Transpose", "ReorderInput", "ReorderOutput"})
PRODUCT_OPS = frozenset({"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})
CONVERSION_OPS = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast"})


def open_session(model: bytes | Path, threads: int) -> "onnxruntime.InferenceSession":
    """Load a model, with the library of operators that it carries; the file is refused if it is damaged.

    Raises:
        LoweringError: ONNX Runtime cannot load it, or the library is not for this machine.
    """
    import onnxruntime as ort  # noqa: PLC0415 - heavy, and needed only where something runs

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    source = model if isinstance(model, bytes) else str(model)
    library = extract(model)
    try:
        if library is not None:
            options.register_custom_ops_library(str(installed(library)))
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except LoweringError:
        raise
    except Exception as error:  # ONNX Runtime raises classes of its own that share no base
        first = str(error).strip().splitlines()[0]
        raise LoweringError(f"ONNX Runtime cannot load the model: {first}") from error


def check_feed(session: "onnxruntime.InferenceSession", feed: Feed) -> None:
    """Check inputs against what a model wants.

    Raises:
        InputError: a name, a shape or a number format is not what the model wants.
    """
    wanted = {item.name: (tuple(item.shape), item.type) for item in session.get_inputs()}
    if set(feed) != set(wanted):
        raise InputError(f"The model's inputs are {', '.join(wanted)}; found {', '.join(feed) or 'none'}.")
    for name, array in feed.items():
        shape, kind = wanted[name]
        if tuple(array.shape) != shape:
            raise InputError(f"Input '{name}' must have shape {shape}, which it was compiled for; found {array.shape}.")
        if kind == "tensor(float)" and array.dtype != np.float32:
            raise InputError(f"Input '{name}' must be float32; found {array.dtype}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """What a kernel is run for: a site, or a conversion of a tensor's number format or memory layout.

    Attributes:
        kind: "site" or "tensor".
        name: of the node in the program that is, or makes, it.
    """

    kind: Literal["site", "tensor"]
    name: str


def owner_times(
    graph: bytes, samples_us: Mapping[str, Sequence[float]], per_run: Mapping[str, float]
) -> dict[Owner, float]:
    """Return the time of each owner's kernels in microseconds per run.

    The runtime's profile has whole microseconds, so the mean of the middle runs is taken, not the median.

    Args:
        graph: the optimised model; it needs no weights.
        samples_us: kernel -> durations of single executions.
        per_run: kernel -> executions per run.

    Raises:
        ValueError: the graph cannot be read.
    """
    try:
        owners = kernel_owners(onnx.load_model_from_string(graph).graph)
    except DecodeError as error:
        raise ValueError("an optimised graph that cannot be read") from error
    times: dict[Owner, float] = {}
    for kernel, durations in samples_us.items():
        owner = owners.get(kernel) or Owner(kind="site", name=_named_site(kernel) or kernel)
        times[owner] = times.get(owner, 0.0) + per_run[kernel] * _middle_mean(durations)
    return times


def _middle_mean(values: Sequence[float]) -> float:
    ordered = sorted(values)
    cut = len(ordered) // 5
    return float(np.mean(ordered[cut : len(ordered) - cut]))


def kernel_owners(graph: onnx.GraphProto) -> dict[str, Owner]:
    """Return the owner of every node of an optimised graph, by node name.

    The names that lowering gave survive most fusions. Nodes that the runtime made itself are traced: a change of layout
    back to the tensor that it changes, anything else forward to the output of the operator that it is a part of. A
    product that took in the operator behind it bears that one's name; its weights tell whose it is.
    """
    makers = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for value in node.input:
            readers.setdefault(value, []).append(node)
    return {node.name: _owner(node, makers, readers) for node in graph.node}


def _owner(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], readers: Mapping[str, list[onnx.NodeProto]]
) -> Owner:
    site, rest = _named_site(node.name), node.name.partition("/")[2]
    if site is not None and node.op_type in CONVERSION_OPS and rest.startswith(("quantize", "dequantize")):
        return Owner(kind="tensor", name=site)
    if node.op_type in PRODUCT_OPS and (own := _site_of_weights(node)) is not None:
        return Owner(kind="site", name=own)
    if site is not None:
        return Owner(kind="site", name=site)
    if node.op_type in LAYOUT_OPS:
        return Owner(kind="tensor", name=_site_behind(node, makers))
    return Owner(kind="site", name=_site_ahead(node, readers) or _site_behind(node, makers))


def _named_site(name: str) -> str | None:
    """Return the site in the name of a node or value, None if lowering did not name it."""
    site, _, rest = name.removeprefix("fused ").partition("/")
    return site if site and rest else None


def _site_of_weights(node: onnx.NodeProto) -> str | None:
    """Return the site in the name of a weight or bias, "site.op.bias"; None if the runtime renamed all of them."""
    heads = [value.partition(".") for value in node.input[1:]]
    return next((site for site, dot, _ in heads if dot), None)


def _site_behind(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> str:
    """Follow first inputs back to a named node or value, or to an input of the graph."""
    value = node.input[0] if node.input else ""
    while _named_site(value) is None and (maker := makers.get(value)) is not None:
        if (site := _named_site(maker.name)) is not None:
            return site
        value = maker.input[0] if maker.input else ""
    return _named_site(value) or value


def _site_ahead(node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> str | None:
    """Follow outputs forward to the first named value; None where the graph ends first."""
    for _ in range(8):
        named = [site for value in node.output if (site := _named_site(value)) is not None]
        if named:
            return named[0]
        following = [reader for value in node.output for reader in readers.get(value, [])]
        if not following:
            return None
        node = following[0]
    return None
