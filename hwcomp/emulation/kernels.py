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
from statistics import median

from hwcomp.emulation.counts import VECTOR_FMA, Counts

FURTHER = 2
"""Readings that the runtime makes after the last kernel of some runs, and not of others."""

WIDEST_GAP = 20.0
"""Between two kernels only the executor and the profiler work, always alike: were readings taken for each other's,
whole kernels would lie in a gap."""


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
    if not end + readings.after <= len(clocks) <= end + readings.after + FURTHER:
        raise ValueError(
            f"the clock was read {len(clocks)} times for {len(names)} kernels, not {end + readings.after} times"
        )
    inner = clocks[readings.before : end]
    gaps = [(begin - end).total for end, begin in zip(inner[1::2], inner[2::2], strict=False)]
    if gaps and max(gaps) > WIDEST_GAP * median(gaps):
        raise ValueError(f"up to {max(gaps)} instructions between two kernels, {median(gaps):.0f} between most")
    mixes = [end - begin for begin, end in zip(inner[::2], inner[1::2], strict=True)]
    profiler = (sum(mix.total for mix in mixes) - run_instructions) / max(len(mixes), 1)
    return [
        KernelCount(name=name, instructions=max(0.0, mix.total - profiler), mix=mix)
        for name, mix in zip(names, mixes, strict=True)
    ]
