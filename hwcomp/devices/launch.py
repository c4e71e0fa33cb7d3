r"""What launching a kernel costs on a GPU, as an entry of its own, and what kernels take besides.

Kernels are profiled while the processor waits for each, so that their times hold the launch and the waiting. In a real
run launches are queued: the processor is ahead of the GPU, and a kernel takes what the slower of the two takes,

.. math:: t = \max(l,\; d - w + e)

l: launch, by how much longer a run is per further trivial kernel; d: profiled; w: a trivial kernel, profiled alike;
e: what a trivial kernel computes. Small networks are bound by l.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import fmean, median

import numpy as np
from onnx import TensorProto, helper

from hwcomp.kernel import Kernel
from hwcomp.lowering.onnxruntime import Feed

LAUNCH = Kernel(op="launch", scheme="float", inputs=((1,),), output=(1,))
"""The entry of the latency store."""

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
    """

    queued_us: float
    waited_us: float

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
    many, few = (median(timed(launch_model(count))) for count in (MANY, FEW))
    waited_us = fmean(us for values in profiled(launch_model(MANY)).values() for us in values)
    return Launch(queued_us=max(0.0, (many - few) / (MANY - FEW)), waited_us=waited_us)


@cache
def launch_model(kernels: int) -> bytes:
    """Return a network of so many kernels one after the other, each on a single number."""
    names = ["x", *(f"t{index}" for index in range(1, kernels)), "y"]
    nodes = [
        helper.make_node("Sin", [before], [after], name=f"launch{index}/Sin")
        for index, (before, after) in enumerate(pairwise(names))
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "launch", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return bytes(model.SerializeToString())


@cache
def launch_feed() -> Feed:
    """Return the input of `launch_model`."""
    return {"x": np.ones(1, np.float32)}
