"""Join operators with the activations that runtimes compute in the same kernel."""

from dataclasses import dataclass
from typing import final

from torch import fx, nn

from hwcomp.ops import ACTIVATIONS, Function, Fused, module_of, op_of, shape_of
from hwcomp.passes._edit import call_instead, erase_after, only_user
from hwcomp.program import PassResult, Program, finish

FUSED = frozenset({"conv2d", "linear", "add"})


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FuseActivation:
    """Make an operator and the ReLU or ReLU6 that alone reads it one site.

    Before: ``x -> conv -> relu -> y``; after: ``x -> Fused(conv, relu) -> y``.
    """

    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the program with fused operators."""
        result = program.fork()
        changed = 0
        for node in result.nodes:
            follower = only_user(node)
            if op_of(node) not in FUSED or follower is None or isinstance(module_of(node), Fused):
                continue
            activation = _activation(follower)
            if activation is None or shape_of(node) is None:
                continue
            operator = module_of(node) or Function(node)
            call_instead(result.module, node, Fused(operator, activation))
            erase_after(node, follower)
            changed += 1
        return PassResult(program=finish(result), changed=changed)


def _activation(node: fx.Node) -> nn.Module | None:
    """Return a module for ReLU or ReLU6, also where it is written as a clip; None for anything else."""
    module = module_of(node)
    if isinstance(module, nn.Hardtanh) and (module.min_val, module.max_val) == (0, 6):
        return nn.ReLU6()
    if op_of(node) not in ACTIVATIONS:
        return None
    return ACTIVATIONS[op_of(node)]()


PASS = FuseActivation
