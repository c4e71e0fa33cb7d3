"""How many multiply-accumulates a network needs, from the shapes in its graph."""

from collections.abc import Collection

from hwcomp.analysis import facts_of
from hwcomp.kernels import kernels_of
from hwcomp.program import Program

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv_transpose2d"})
"""What the literature on convolutional networks counts."""

PRODUCTS = CONVOLUTIONS | {"linear", "matmul", "attention"}
"""Everything that multiplies and adds up."""


def macs_by_node(program: Program, ops: Collection[str] = CONVOLUTIONS) -> dict[str, int]:
    r"""Return the multiply-accumulates of each node of the given kinds, for the batch of the example inputs.

    .. math:: \text{MACs}_{conv} = N \frac{C_{in} C_{out}}{groups} K_H K_W H_{out} W_{out}, \quad
        \text{MACs}_{linear} = N C_{in} C_{out}

    Bias, normalisation and activations are not counted.
    """
    kernels = kernels_of(program, activation="")
    counted = {}
    for name, candidates in kernels.sites.items():
        facts = facts_of(next(iter(candidates.values())))
        if facts.op in ops:
            counted[name] = facts.macs
    return counted


def macs_of(program: Program, ops: Collection[str] = CONVOLUTIONS) -> int:
    """Return the multiply-accumulates of a program's nodes of the given kinds, see `macs_by_node`."""
    return sum(macs_by_node(program, ops).values())
