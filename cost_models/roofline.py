r"""Latency from the roofline: an operator takes as long as its arithmetic or its memory traffic, whichever is longer.

.. math:: t = \max\Big( \frac{2 M}{n f p\,\eta},\; \frac{B}{b} \Big) + o

M: multiply-accumulates; n: cores in use; f: clock, cycles/s; p: operations per cycle and core, in float or 8 bits;
:math:`\eta`: share of the peak that this class of operator reaches; B: bytes moved; b: bandwidth, bytes/s; o: what
starting a kernel costs. Times in the table are microseconds. The maximum is that of [Williams2009]_; o is added here,
because small operators are bound by neither.

It needs no device and knows no runtime: a kernel that a runtime computes badly, say an int8 sigmoid, looks like any
other.

.. [Williams2009] S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for
   multicore architectures", Communications of the ACM 52(4), 2009.
"""

from dataclasses import dataclass
from typing import Literal

from hwcomp.analysis import OpFacts, facts_of
from hwcomp.config import Precision
from hwcomp.cost import CostTable
from hwcomp.kernel import Kernels
from hwcomp.ops import FUNCTIONS, MODULES
from hwcomp.scheme import FLOAT, FLOAT16, QUANTS, computes_in_float, reads_integers, sparse_of, writes_integers
from hwcomp.space import SearchSpace
from hwcomp.target import Target

CACHE_BYTES_PER_CYCLE = 16
"""Per core, from the shared cache: one 128-bit vector.

A Zen 4 core streams weights from its L3 at 17 to 20 (measured, matrix times vector); an in-order Cortex-A53 loads half
of 16, so there this is optimistic.
"""

ERROR = 0.4
"""Relative error of a whole network, mostly towards too low.

On x86_64 (seven networks, ResNet-20 to ViT-Tiny, ONNX Runtime 1.31.1, one thread of Zen 4) it was up to 24 % off in
float, and 15 to 62 % too low when all of it was in int8, 40 % on average. On Cortex-A53, A72 and A76 such a roofline
ranked 26 float networks well (Spearman 0.98) and was 16 to 20 % off after one fitted constant, but it was 2.8 times too
low for small CIFAR networks in another runtime. Int8 on ARM, and any GPU, were never compared with a device.
"""

BLOCKED_EFFICIENCY, SINGLE_EFFICIENCY = 0.95, 0.4
"""Speed of sparse kernels by their products, relative to dense ones: blocks of four outputs, and single weights.

Measured on x86_64 with 1x1 convolutions (docs/sparsity.md); assumed for other targets.
"""

FLOAT_BITS: dict[Precision, int] = {"float32": 32, "float16": 16, "bfloat16": 16}
INTEGER_BITS, HALF_BITS = 8, 16

HALVES_PER_BYTE = 0.5
"""Products of halves that tensor cores make in the time of one of bytes, from Turing to Hopper.

Data sheets, in 10^12 operations per second: T4 65 and 130, A100 312 and 624, H200 990 and 1979.
"""

FREE = frozenset({"flatten", "reshape", "identity", "dropout"})
"""Operators that only rename memory, or do nothing, at run time."""


@dataclass(frozen=True, slots=True)
class Roofline:
    """The roofline of one target.

    Attributes:
        target: whose hardware is assumed.
        threads: how many cores may be used, at most.
        precision: of what is not in integers; float16 and bfloat16 are for GPUs with tensor cores.
    """

    target: Target
    threads: int
    precision: Precision = "float32"

    def cost_table(self, space: SearchSpace, kernels: Kernels) -> CostTable:
        """Return the table in microseconds."""
        site_us = {
            site: {choice: self._site_us(facts_of(kernel), choice) for choice, kernel in candidates.items()}
            for site, candidates in kernels.sites.items()
        }
        boundary_us = {edge.tensor: self._boundary_us(edge.elements) for edge in space.edges}
        known = {*MODULES.values(), *FUNCTIONS.values()}
        opaque = [site for site, c in kernels.sites.items() if (k := c[FLOAT]).op not in known and k.elements > 0]
        return CostTable(
            space=space,
            site_us=site_us,
            quantize_us=boundary_us,
            dequantize_us=boundary_us,
            error=ERROR,
            provenance="analytic",
            notes=tuple(f"{name}: only its inputs and outputs are counted, not what happens inside" for name in opaque),
        )

    def _site_us(self, facts: OpFacts, choice: str) -> float:
        if facts.op in FREE or facts.outputs == 0:
            return 0.0  # nothing is computed, or no tensor: the graph only looks at a shape
        hardware = self.target.hardware
        operations_per_us = self._cores * hardware.clock_ghz * 1e3 * self._operations_per_cycle(facts, choice)
        efficiency = hardware.efficiency[_class_of(facts)] * _sparse_efficiency(choice)
        compute_us = 2 * facts.macs / (operations_per_us * efficiency)
        return max(compute_us, self._memory_us(self._bytes_moved(facts, choice))) + hardware.kernel_overhead_us

    def _operations_per_cycle(self, facts: OpFacts, choice: str) -> float:
        # Instructions for 8-bit integers win by adding up several products of one output. A depthwise filter has no
        # channels to add over, so it stays at the float rate (ONNX Runtime on Zen 4: 46 GOP/s int8, 63 GFLOP/s float).
        bits = _narrow_bits(choice) if reads_integers(choice) else FLOAT_BITS[self.precision]
        if bits == INTEGER_BITS and not facts.depthwise:
            return self.target.hardware.int8_op_per_cycle
        if bits == HALF_BITS and not facts.depthwise:
            return self.target.hardware.int8_op_per_cycle * HALVES_PER_BYTE
        return self.target.hardware.float_flop_per_cycle

    def _boundary_us(self, elements: int) -> float:
        # one side is float, the other the narrow format, whichever way it goes
        narrow_bits = HALF_BITS if self.target.activation == FLOAT16.name else INTEGER_BITS
        moved_bits = elements * (FLOAT_BITS[self.precision] + narrow_bits)
        return self._memory_us(moved_bits / 8) + self.target.hardware.kernel_overhead_us

    def _bytes_moved(self, facts: OpFacts, choice: str) -> float:
        float_bits = FLOAT_BITS[self.precision]
        weight_bits = float_bits if computes_in_float(choice) else QUANTS[choice].weight_bits or float_bits
        input_bits = _narrow_bits(choice) if reads_integers(choice) else float_bits
        output_bits = _narrow_bits(choice) if writes_integers(choice) else float_bits
        return (facts.weights * weight_bits + facts.inputs * input_bits + facts.outputs * output_bits) / 8

    def _memory_us(self, moved_bytes: float) -> float:
        hardware = self.target.hardware
        bandwidth_gb_per_s = hardware.bandwidth_gb_per_s
        if moved_bytes <= hardware.cache_bytes:
            # never below main memory, so that a working set that outgrows the cache is never cheaper
            cached = self._cores * hardware.clock_ghz * CACHE_BYTES_PER_CYCLE
            bandwidth_gb_per_s = max(bandwidth_gb_per_s, cached)
        return moved_bytes / (bandwidth_gb_per_s * 1e3)

    @property
    def _cores(self) -> int:
        return min(self.threads, self.target.hardware.cores)


def _narrow_bits(choice: str) -> int:
    """Return the bits of a number in the narrow format that a scheme reads or writes."""
    return QUANTS[choice].activation_bits or INTEGER_BITS


def _sparse_efficiency(choice: str) -> float:
    """Return the speed of a sparse kernel, by its products, relative to a dense one."""
    sparse = sparse_of(choice)
    if sparse is None:
        return 1.0
    return BLOCKED_EFFICIENCY if sparse.rows % 4 == 0 else SINGLE_EFFICIENCY


def _class_of(facts: OpFacts) -> Literal["conv1x1", "conv3x3", "depthwise", "linear", "other"]:
    if facts.depthwise:
        return "depthwise"
    if facts.op.startswith("conv"):
        return "conv1x1" if facts.window == 1 else "conv3x3"
    return "linear" if facts.op in ("linear", "matmul") else "other"


COST_MODEL = Roofline
