r"""Tells the instructions of a run's kernels apart.

The runtime's profiler reads the clock when a kernel begins and when it ends, and the plugin notes its counters whenever
the guest reads the clock. What the profiler itself executes in between is the same for every kernel, within some
hundred instructions, so it is the surplus of all intervals over a run that is not profiled:

.. math:: n_k = i_k - h, \qquad h = \frac{1}{K} \Big( \sum_k i_k - n \Big)

:math:`i_k`: instructions between the readings around kernel k; h: the profiler's share; K: kernels; n: instructions of
the run without the profiler. So the kernels of a network sum to its run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import onnx
from google.protobuf.message import DecodeError

from hwcomp.emulation.counts import VECTOR_FMA, Counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """How often the runtime reads the clock in a profiled run, besides twice for every kernel.

    Attributes:
        before: the first kernel.
        after: the last kernel.
    """

    before: int
    after: int


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCount:
    """One execution of a kernel.

    Attributes:
        name: of the kernel.
        instructions: without the profiler's.
        mix: classes of instructions, with the profiler's.
    """

    name: str
    instructions: float
    mix: Counts


def locate(clocks: Sequence[Counts], multiplications: int) -> Readings:
    """Return where the kernel lies in a profiled run of a single matrix product, whose size is known.

    Args:
        clocks: counters at every reading of the clock in that run.
        multiplications: vector multiply-adds of the product.

    Raises:
        ValueError: no two readings enclose exactly the product: kernels cannot be told apart here.
    """
    between = [(after - before).by_class[VECTOR_FMA] for before, after in pairwise(clocks)]
    if sum(between) != multiplications or multiplications not in between:
        raise ValueError(f"{between} vector multiply-adds between the clocks of a product of {multiplications}")
    index = between.index(multiplications)
    return Readings(before=index, after=len(clocks) - index - 2)


def check_sequence(graph: bytes) -> None:
    """Check that the kernels of an optimised model run one after the other.

    Raises:
        ValueError: a kernel runs others inside, or the graph cannot be read.
    """
    try:
        nodes = onnx.load_model_from_string(graph).graph.node
    except DecodeError as error:
        raise ValueError("its optimised graph cannot be read") from error
    inner = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    for node in nodes:
        if any(attribute.type in inner for attribute in node.attribute):
            raise ValueError(f"'{node.name}' ({node.op_type}) runs other kernels inside")


def kernel_counts(
    clocks: Sequence[Counts], names: Sequence[str], readings: Readings, run_instructions: int
) -> list[KernelCount]:
    """Return the instructions of every kernel of a profiled run, in the order in which they were executed.

    Args:
        clocks: counters at every reading of the clock.
        names: of the kernels, in the order of the profile.
        readings: what else reads the clock.
        run_instructions: of a run that is not profiled, between its first and its last reading of the clock.

    Raises:
        ValueError: the readings do not match the kernels.
    """
    end = readings.before + 2 * len(names)
    if len(clocks) < end + readings.after:  # there may be more behind the last kernel, where Python waits for its lock
        raise ValueError(
            f"the clock was read {len(clocks)} times for {len(names)} kernels, not {end + readings.after} times"
        )
    inner = clocks[readings.before : end]
    gaps = [(begin - finish).multiplications for finish, begin in zip(inner[1::2], inner[2::2], strict=False)]
    between = sum(gaps) + (clocks[-1] - clocks[end - 1]).multiplications
    if between > 0:  # only kernels multiply vectors; the executor and the profiler do not
        raise ValueError(f"{between} vectors are multiplied between the kernels")
    mixes = [end - begin for begin, end in zip(inner[::2], inner[1::2], strict=True)]
    profiler = (sum(mix.total for mix in mixes) - run_instructions) / max(len(mixes), 1)
    return [
        KernelCount(name=name, instructions=max(0.0, mix.total - profiler), mix=mix)
        for name, mix in zip(names, mixes, strict=True)
    ]
