"""Whether an artifact computes on a device what it computes here, and with which instructions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from hwcomp import artifact
from hwcomp.benching import random_feed, whole_model
from hwcomp.devices.agent.libraries import is_library
from hwcomp.devices.base import Device
from hwcomp.devices.emulated import EmulatedDevice
from hwcomp.devices.local import LocalDevice
from hwcomp.emulation.counts import Counts
from hwcomp.lowering.onnxruntime import Array, Feed
from hwcomp.reference import plain_outputs

Kind = Literal["int8", "fp16", "bf16", "fp32"]

TOLERANCES: dict[Kind, float] = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1}
"""Largest difference of a float network, relative to its largest output: the order of additions differs, and halves
are rounded to 11 bits after every layer, bfloat16 to 8."""

MAX_STEPS = 2.0
"""Largest difference of an integer network in quantisation steps: where float arithmetic rounds to another integer."""

ROUNDING, PERTURBED_RUNS, MARGIN = 1e-6, 4, 2.0
"""A network can be so sensitive that one value that rounds otherwise moves all outputs. Then the host's own outputs
move as much when its inputs change by this relative amount; so many times that is tolerated."""

HALF_STEP = 0.5
STEPS_OF_RANGE = 127
SCALAR_LIMIT = 0.1
"""Share of scalar float arithmetic above which the runtime has no vector code for some operator."""

INTEGER_OPS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulNBits"})
MOVING_OPS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What came of a comparison with the host.

    Attributes:
        fingerprint: of the device.
        runtime: that ran there.
        kind: "int8" if anything in the model is quantised, "fp16" or "bf16" if it computes in these, else "fp32".
        values: numbers in all outputs.
        differing: how many of them are not the same, bit by bit.
        relative: largest difference relative to the largest output; infinite if one is no number on one side only.
        steps: largest difference in quantisation steps of the output; 0 for float networks.
        agrees: whether that is within what rounding explains.
        rounding_steps: how far the outputs move here, in steps, when the inputs change by `ROUNDING`; 0 if not needed.
        mix: instructions of one run, where the device is emulated.
    """

    fingerprint: str
    runtime: str
    kind: Kind
    values: int
    differing: int
    relative: float
    steps: float
    agrees: bool
    rounding_steps: float = 0.0
    mix: Counts | None = None

    @property
    def scalar(self) -> bool:
        """Whether so much of the arithmetic is scalar that vector code must be missing."""
        return self.mix is not None and self.mix.scalar_share > SCALAR_LIMIT

    def sentence(self) -> str:
        """Return the finding in one sentence."""
        if self.differing == 0:
            return f"{self.kind}: all {self.values} outputs are the same as here, bit by bit"
        share = f"{self.kind}: {self.differing} of {self.values} outputs differ from those here"
        if self.kind != "int8":
            relation = "within" if self.agrees else "beyond"
            limit = TOLERANCES[self.kind]
            return f"{share}, by {self.relative:.1e} of the largest at most: {relation} {limit:.0e}"
        return f"{share}, by {self.steps:.2g} quantisation steps at most: {self._cause()}"

    def _cause(self) -> str:
        if not self.agrees:
            return f"more than rounding explains ({max(MAX_STEPS, MARGIN * self.rounding_steps):.2g})"
        if self.rounding_steps > 0.0:
            return (
                f"rounding, which moves them by {self.rounding_steps:.2g} here if the inputs change by {ROUNDING:.0e}"
            )
        if self.steps < HALF_STEP:
            return "the integers are the same, the float operations behind them round differently"
        return "a float operation rounds to another integer"


def verify(folder: Path, device: Device) -> Verification:
    """Run an artifact's model on a device and on the host, on the same random inputs, and compare the outputs.

    Raises:
        InputError: the artifact or the device cannot be used.
        LoweringError: the runtime of one of them cannot run the model.
    """
    path = artifact.model_path(folder)
    content, feed = whole_model(path), random_feed(path)
    if is_library(content):
        return _verify_library(folder, content, feed, device)
    expected = LocalDevice().run(content, feed, 1)
    found = device.run(content, feed, 1)
    graph = onnx.load_model_from_string(content).graph
    facts = device.facts()
    is_integer = any(node.op_type in INTEGER_OPS or node.op_type.startswith("QLinear") for node in graph.node)
    kind: Kind = "int8" if is_integer else _float_kind(folder, graph)
    steps = [_step(graph, item.name) for item in graph.output] if is_integer else None
    differing, relative, worst_steps = compare_outputs(expected, found, steps)
    rounding = 0.0
    if is_integer and worst_steps > MAX_STEPS:
        rounding = _rounding_steps(content, feed, expected, steps)
    tolerated = max(MAX_STEPS, MARGIN * rounding)
    agrees = worst_steps <= tolerated if is_integer else relative <= TOLERANCES[kind]
    return Verification(
        fingerprint=facts.fingerprint,
        runtime=facts.runtime,
        kind=kind,
        values=sum(array.size for array in expected),
        differing=differing,
        relative=relative,
        steps=worst_steps,
        agrees=agrees,
        rounding_steps=rounding,
        mix=device.instruction_mix(content, feed) if isinstance(device, EmulatedDevice) else None,
    )


def _float_kind(folder: Path, graph: onnx.GraphProto | None = None) -> Kind:
    """Return the number format with the fewest bits in an artifact, or that its runtime may choose."""
    has_halves = graph is not None and any(one.data_type == onnx.TensorProto.FLOAT16 for one in graph.initializer)
    named: dict[str | None, Kind] = {"float16": "fp16", "bfloat16": "bf16"}
    return "fp16" if has_halves else named.get(artifact.read(folder).runtime.precision, "fp32")


def _verify_library(folder: Path, content: bytes, feed: Feed, device: Device) -> Verification:
    """Compare a library of TVM with the artifact's program in PyTorch: it may be for another machine than this."""
    expected = plain_outputs(folder, feed)
    found = device.run(content, feed, 1)
    differing, relative, _ = compare_outputs(expected, found, None)
    runtime, kind = artifact.read(folder).runtime, _float_kind(folder)
    return Verification(
        fingerprint=device.facts().fingerprint,
        runtime=f"{runtime.name} {runtime.version}",
        kind=kind,
        values=sum(array.size for array in expected),
        differing=differing,
        relative=relative,
        steps=0.0,
        agrees=relative <= TOLERANCES[kind],
        mix=device.instruction_mix(content, feed) if isinstance(device, EmulatedDevice) else None,
    )


def compare_outputs(
    expected: Sequence[Array], found: Sequence[Array], steps: Sequence[float | None] | None
) -> tuple[int, float, float]:
    """Return how many values differ, and the largest difference: relative to the largest value, and in steps.

    Args:
        expected: outputs of the host.
        found: outputs of the device.
        steps: quantisation step of each output, None where it is made in float (then of its range); None for float
            networks.
    """
    if [(array.shape, array.dtype) for array in expected] != [(array.shape, array.dtype) for array in found]:
        return max(sum(array.size for array in expected), 1), np.inf, np.inf
    differing, relative, worst = 0, 0.0, 0.0
    for index, (here, there) in enumerate(zip(expected, found, strict=True)):
        differing += int(np.sum(~_same(here, there)))
        difference = _largest_difference(here, there)
        largest = float(np.max(np.abs(np.nan_to_num(here.astype(np.float64))), initial=0.0))
        relative = max(relative, _ratio(difference, largest))
        if steps is not None:
            worst = max(worst, _ratio(difference, steps[index] or largest / STEPS_OF_RANGE))
    return differing, relative, worst


def _rounding_steps(
    content: bytes, feed: Feed, expected: Sequence[Array], steps: Sequence[float | None] | None
) -> float:
    """Return how far the host's outputs move, in steps, when its inputs change as little as rounding changes values."""
    generator, host, moved = np.random.default_rng(0), LocalDevice(), 0.0
    for _ in range(PERTURBED_RUNS):
        changed = {name: _perturbed(array, generator) for name, array in feed.items()}
        moved = max(moved, compare_outputs(expected, host.run(content, changed, 1), steps)[2])
    return moved


def _perturbed(array: Array, generator: np.random.Generator) -> Array:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    changed = array.astype(np.float64) * (1 + ROUNDING * generator.standard_normal(array.shape))
    return changed.astype(array.dtype)


def _same(here: Array, there: Array) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = here == there
    neither: NDArray[np.bool_] = (here != here) & (there != there)  # noqa: PLR0124 - true for what is not a number
    return equal | neither


def _largest_difference(here: Array, there: Array) -> float:
    with np.errstate(invalid="ignore"):
        difference = np.abs(here.astype(np.float64) - there.astype(np.float64))
    difference[_same(here, there)] = 0.0
    return float(np.max(np.nan_to_num(difference, nan=np.inf, posinf=np.inf), initial=0.0))


def _ratio(difference: float, unit: float) -> float:
    if difference == 0.0:
        return 0.0
    return difference / unit if unit > 0.0 else np.inf


def _step(graph: onnx.GraphProto, name: str) -> float | None:
    """Return the scale of the integers that an output is made from; None if it is made in float."""
    makers = {value: node for node in graph.node for value in node.output}
    scales = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    node = makers.get(name)
    while node is not None and node.op_type in MOVING_OPS:
        node = makers.get(node.input[0])
    if node is None or node.op_type != "DequantizeLinear" or node.input[1] not in scales:
        return None
    return float(np.max(scales[node.input[1]]))
