"""Make BatchNorm part of the site of the operator before it without folding, so that both train on."""

from dataclasses import dataclass
from typing import final

from torch import nn

from hwcomp.ops import Normalised, module_of
from hwcomp.passes._batchnorm import Norm, absorb, folded
from hwcomp.passes._edit import call_instead
from hwcomp.program import PassResult, Program, finish


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class JoinBatchnorm:
    """Make a BatchNorm and the operator that alone feeds it one site, which computes with the same modules.

    Before: ``x -> conv -> batch_norm -> y``; after: ``x -> Normalised(conv, batch_norm) -> y``. The nodes are those
    that `FoldBatchnorm` leaves, under the same names.
    """

    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the joined program; a BatchNorm that stays alone is noted with the reason."""
        return absorb(program, _joined, "joined")


def _joined(operator: nn.Module, norm: Norm) -> nn.Module:
    parts = tuple(operator) if isinstance(operator, Normalised) else (operator,)
    joined = Normalised(*parts, norm)
    joined.training = norm.training
    return joined


def fold_joined(program: Program) -> Program:
    """Return a program with the BatchNorm of every site folded into its operator, as at inference.

    Before: ``x -> Choice(Fused(Normalised(conv, batch_norm), relu)) -> y``; after:
    ``x -> Choice(Fused(conv', relu)) -> y``.
    """
    result = program.fork()
    for node in result.nodes:
        module = module_of(node)
        if module is not None and any(isinstance(part, Normalised) for part in module.modules()):
            call_instead(result.module, node, folded(module))
    return finish(result)


PASS = JoinBatchnorm
