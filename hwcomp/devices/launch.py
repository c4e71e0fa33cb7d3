r"""What launching a kernel costs on a GPU, as an entry of its own, and what kernels take besides.

Kernels are profiled while the processor waits for each, so that their times hold the launch and the waiting. In a real
run launches are queued: the processor is ahead of the GPU, and a kernel takes what the slower of the two takes,

.. math:: t = \max(l,\; d - w + e)

l: launch, by how much longer a run is per further trivial kernel; d: profiled; w: a trivial kernel, profiled alike;
e: what a trivial kernel computes. Small networks are bound by l, which is much smaller where all kernels are started
together, as a CUDA graph; that is measured in the same way, and is an entry too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import fmean, median

import numpy as np
from onnx import TensorProto, helper

from hwcomp.devices.agent.wishes import Wishes
from hwcomp.errors import DeviceError, LoweringError
from hwcomp.kernel import Kernel
from hwcomp.lowering.metadata import with_wishes
from hwcomp.lowering.onnxruntime import Feed

LAUNCH = Kernel(op="launch", scheme="float", inputs=((1,),), output=(1,))
LAUNCH_IN_GRAPH = Kernel(op="launch", scheme="float", inputs=((1,),), output=(1,), detail="graph")
"""The entries of the latency store."""

FEW, MANY = 16, 80
"""Trivial kernels in the networks whose runs are compared."""

RUNS = 30

TRIVIAL_US = 2.0
"""e, an assumption: that a kernel which does nothing keeps a GPU busy for about two microseconds was not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What launching costs.

    Attributes:
        queued_us: each kernel of a run in which launches are queued, l.
        waited_us: a trivial kernel for which the processor waits, w.
        captured_us: each kernel of a CUDA graph; None where there are none.
    """

    queued_us: float
    waited_us: float
    captured_us: float | None = None

    @property
    def entries_us(self) -> dict[str, float]:
        """Key in the latency store -> microseconds."""
        captured = {} if self.captured_us is None else {LAUNCH_IN_GRAPH.key: self.captured_us}
        return {LAUNCH.key: self.queued_us, **captured}

    def in_queue_us(self, profiled_us: float) -> float:
        """Return what a kernel takes in a real run, given what it took while the processor waited for it."""
        return max(self.queued_us, profiled_us - self.waited_us + TRIVIAL_US)


Timed = Callable[[bytes], Sequence[float]]
Profiled = Callable[[bytes], Mapping[str, Sequence[float]]]


def measured_launch(timed: Timed, profiled: Profiled) -> Launch:
    """Return what launching costs on a device.

    Args:
        timed: gives the times of whole runs of a network, on one number, in microseconds.
        profiled: likewise the durations of its kernels, by name, the processor waiting for each.
    """
    waited_us = fmean(us for values in profiled(launch_model(MANY)).values() for us in values)
    try:
        captured_us = _per_kernel_us(timed, in_graph=True)
    except (DeviceError, LoweringError):  # the provider captures no graphs
        captured_us = None
    return Launch(queued_us=_per_kernel_us(timed), waited_us=waited_us, captured_us=captured_us)


def _per_kernel_us(timed: Timed, *, in_graph: bool = False) -> float:
    """Return by how much longer a run is per further kernel."""
    many, few = (median(timed(launch_model(count, in_graph=in_graph))) for count in (MANY, FEW))
    return max(0.0, (many - few) / (MANY - FEW))


@cache
def launch_model(kernels: int, *, in_graph: bool = False) -> bytes:
    """Return a network of so many kernels one after the other, each on a single number; perhaps as a CUDA graph."""
    names = ["x", *(f"t{index}" for index in range(1, kernels)), "y"]
    nodes = [
        helper.make_node("Sin", [before], [after], name=f"launch{index}/Sin")
        for index, (before, after) in enumerate(pairwise(names))
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "launch", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    content = bytes(model.SerializeToString())
    return with_wishes(content, Wishes(graph=True)) if in_graph else content


@cache
def launch_feed() -> Feed:
    """Return the input of `launch_model`."""
    return {"x": np.ones(1, np.float32)}
