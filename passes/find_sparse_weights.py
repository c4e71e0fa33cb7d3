"""Offer sparse kernels to layers whose weights have zeros already."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import final

import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, fx, nn

from hwcomp.ops import WEIGHTED, anchor, module_of, op_of, shape_of
from hwcomp.passes._batchnorm import folded
from hwcomp.passes._sparse import offer, why_not_sparse
from hwcomp.program import Note, PassResult, Program, finish
from hwcomp.scheme import Sparse
from hwcomp.sharing import parameter_uses
from hwcomp.sparse_kernels.format import BLOCK, SINGLE, work_of_blocks
from hwcomp.sparse_kernels.library import why_unavailable
from hwcomp.sparsity import pattern_mask
from hwcomp.target import Gpu, Target

MOST = 0.7
"""Density above which no kernel is faster than the dense one; see docs/sparsity.md."""

GROUP = 4
TWO_OF_FOUR = Sparse(density=0.5, group=GROUP)
"""The zeros that tensor cores can leave out: two of every four neighbouring input channels."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FindSparseWeights:
    """Add to the `Choice` of a layer with many zeros the sparse scheme that leaves them out.

    Before: ``x -> Choice(conv; float, int8) -> y``; after: ``x -> Choice(conv; float, int8, sparse4x1:0.1) -> y``. The
    scheme is the one whose kernel has least to do: zeros in blocks of four output channels, or single ones. Layers with
    few zeros are left alone. Nothing is made zero here. On a GPU the graph stays as it is: TensorRT leaves out zeros
    that lie as its tensor cores want them, nobody leaves out others; the notes tell which.

    Attributes:
        target: decides which operators have sparse kernels, and whether these can be built.
    """

    target: Target
    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the program with the schemes; a layer with many zeros that has no sparse kernel is noted."""
        if self.target.gpu is not None:
            return PassResult(program=program, changed=0, notes=tuple(_notes_of_gpu(program, self.target.gpu)))
        result = program.fork()
        uses = parameter_uses(result.nodes)
        changed, notes, unavailable = 0, [], why_unavailable(self.target.isa)
        for node in result.nodes:
            if op_of(node) not in self.target.sparse or module_of(node) is None:
                continue
            found = scheme_of(_weight(node))
            if found.density > MOST:
                continue
            reason = why_not_sparse(node, uses) or why_no_kernel(node) or unavailable
            if reason is not None:
                notes.append(Note(site=node.name, reason=f"computes with its zeros: {reason}"))
                continue
            changed += offer(result.module, node, [str(found)])
        return PassResult(program=finish(result), changed=changed, notes=tuple(notes))


def _notes_of_gpu(program: Program, gpu: Gpu) -> Iterator[Note]:
    """Yield what becomes of the zeros of each layer that has many."""
    for node in program.nodes:
        if op_of(node) in WEIGHTED and module_of(node) is not None:
            weight = _weight(node)
            if float((weight != 0).float().mean()) <= MOST:
                reason = why_not_on_gpu(gpu, weight)
                told = "where TensorRT's version is taken, it may leave out its zeros, two in every four"
                yield Note(site=node.name, reason=told if reason is None else f"computes with its zeros: {reason}")


def why_not_on_gpu(gpu: Gpu, weight: Tensor) -> str | None:
    r"""Return why a GPU multiplies by a weight's zeros, or None if TensorRT can leave them out.

    Args:
        gpu: of the target.
        weight: (C_out, C_in / groups, \*kernel).
    """
    if not gpu.structured_sparsity:
        return f"the tensor cores of the {gpu.name} leave out none"
    if weight.shape[1] % GROUP or bool((weight * (1 - pattern_mask(weight, TWO_OF_FOUR))).any()):
        return "GPUs leave out zeros only where every four neighbouring input channels have two; prune to 2of4 for that"
    return None


def scheme_of(weight: Tensor) -> Sparse:
    r"""Return the sparse scheme of a weight that takes least time, its density rounded up to two digits.

    See `hwcomp.sparse_kernels.format.work_of_blocks`.

    Args:
        weight: (C_out, C_in / groups, \*kernel).
    """
    kept = (weight.detach() != 0).flatten(1)
    single = int(kept.sum())
    blocks = int(F.pad(kept.float(), (0, 0, 0, -len(kept) % BLOCK)).view(-1, BLOCK, kept.shape[1]).amax(1).sum())
    if work_of_blocks(blocks, BLOCK) <= work_of_blocks(single, SINGLE):
        return Sparse(rows=BLOCK, density=_rounded_up(blocks / (-(-len(kept) // BLOCK) * kept.shape[1])))
    return Sparse(density=_rounded_up(single / kept.numel()))


def why_no_kernel(node: fx.Node) -> str | None:
    """Return why there is no sparse kernel for a layer of a kind that has them, or None if there is."""
    module = module_of(node)
    inner = anchor(module) if module is not None else None
    if isinstance(inner, nn.Conv2d):
        if isinstance(inner.padding, str):
            return f"its padding is '{inner.padding}'"
        return None if set(inner.dilation) == {1} else "it is dilated"
    rank = len(shape_of(node.all_input_nodes[0]) or ())
    return None if rank == 3 else "a linear layer over single vectors has no tokens to compute side by side"


def _rounded_up(density: float) -> float:
    return min(1.0, max(0.01, ceil(density * 100 - 1e-9) / 100))


def _weight(node: fx.Node) -> Tensor:
    module = module_of(node)
    assert module is not None
    weight = anchor(folded(module)).weight
    assert isinstance(weight, Tensor)
    return weight


PASS = FindSparseWeights
