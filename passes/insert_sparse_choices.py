"""Make convolutions and linear layers searchable in sparse weights."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import fx, nn

from hwcomp.choice import Choice
from hwcomp.errors import InputError
from hwcomp.ops import WEIGHTED, anchor, is_float, module_of, op_of, shape_of
from hwcomp.passes._batchnorm import folded
from hwcomp.passes._edit import call_instead
from hwcomp.program import Note, PassResult, Program, finish
from hwcomp.scheme import FLOAT, Sparse
from hwcomp.sharing import parameter_uses


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class InsertSparseChoices:
    """Add sparse schemes to the `Choice` of each convolution and linear layer, which still computes with all weights.

    Before: ``x -> Choice(conv; float, int8) -> y``; after: ``x -> Choice(conv; float, int8, sparse4x1:0.1) -> y``. A
    layer without a choice gets one. Put it behind the passes that fold and fuse.

    Attributes:
        densities: shares of the weights that are kept.
        blocks: output and input channels that share a pattern; (1, 1) for none.
        groups: pairs (N, M): N of M consecutive input channels are kept.
        depthwise: also for depthwise convolutions, where single weights are left out.

    Raises:
        InputError: a density, block or group that cannot be, or none at all.
    """

    densities: tuple[float, ...] = (0.3, 0.2, 0.1)
    blocks: tuple[tuple[int, int], ...] = ((4, 1),)
    groups: tuple[tuple[int, int], ...] = ()
    depthwise: bool = False
    preserves: bool = True

    def __post_init__(self) -> None:
        for kept, of in self.groups:
            if not 0 < kept <= of:
                raise InputError(f"A group keeps at least one weight and at most all; found {kept} of {of}.")
        if not self.patterns:
            raise InputError("There is no sparse scheme to choose; give densities with blocks, or groups.")

    @property
    def patterns(self) -> tuple[Sparse, ...]:
        """The sparse schemes, the densest of each block first as given."""
        blocked = (
            Sparse(rows=rows, columns=columns, density=density)
            for rows, columns in self.blocks
            for density in self.densities
        )
        grouped = (Sparse(density=kept / of, group=of) for kept, of in self.groups)
        return (*blocked, *grouped)

    def __call__(self, program: Program) -> PassResult:
        """Return the program with sparse schemes; a layer with weights that must stay dense is noted."""
        result = program.fork()
        uses = parameter_uses(result.nodes)
        changed, notes = 0, []
        for node in result.nodes:
            if op_of(node) not in WEIGHTED:
                continue
            reason = self._why_not(node, uses)
            if reason is not None:
                notes.append(Note(site=node.name, reason=f"stays dense: {reason}"))
                continue
            changed += _offer(result.module, node, self._fitting(node))
        return PassResult(program=finish(result), changed=changed, notes=tuple(notes))

    def _why_not(self, node: fx.Node, uses: Counter[int]) -> str | None:  # noqa: PLR0911 - a list of reasons
        """Return why a layer cannot have sparse weights, or None if it can."""
        module = module_of(node)
        if module is None:
            return "its weight is no parameter of its own"
        inner = anchor(module)
        if isinstance(inner, nn.Conv1d) or not isinstance(inner, (nn.Conv2d, nn.Linear)):
            return "sparse weights are for conv2d and linear"
        if not is_float(node) or not all(is_float(source) for source in node.all_input_nodes):
            return "its input or output is not one float32 tensor"
        if isinstance(inner, nn.Conv2d) and len(shape_of(node) or ()) != 4:
            return "its input has no batch"
        if isinstance(inner, nn.Conv2d) and inner.padding_mode != "zeros":
            return f"padding '{inner.padding_mode}' has no sparse kernel"
        if isinstance(inner, nn.Conv2d) and inner.groups > 1 and not (self.depthwise and inner.weight.shape[1] == 1):
            return f"its channels are in {inner.groups} groups"
        if uses[id(inner.weight)] > 1:
            return "its weight is used at several places"
        weight = anchor(folded(module)).weight
        assert isinstance(weight, torch.Tensor)
        if not bool(weight.detach().abs().amax() > 0):
            return "all its weights are zero"
        if not self._fitting(node):
            return f"no pattern fits its weight of {weight.shape[0]}x{weight.shape[1]} channels"
        return None

    def _fitting(self, node: fx.Node) -> list[str]:
        """Return the schemes whose blocks and groups are not larger than a layer's weight."""
        module = module_of(node)
        assert module is not None
        inner = anchor(module)
        assert isinstance(inner, (nn.Conv2d, nn.Linear))
        outputs, inputs = inner.weight.shape[:2]
        if isinstance(inner, nn.Conv2d) and inner.groups > 1:
            return [str(Sparse(density=density)) for density in dict.fromkeys(self.densities)]
        fitting = [p for p in self.patterns if p.rows <= outputs and max(p.columns, p.group or 1) <= inputs]
        return list(dict.fromkeys(map(str, fitting)))


def _offer(module: fx.GraphModule, node: fx.Node, schemes: Sequence[str]) -> bool:
    """Add schemes to what a node may choose; return whether there was one to add."""
    before = module_of(node)
    assert before is not None
    known = before.candidates if isinstance(before, Choice) else (FLOAT,)
    added = [scheme for scheme in schemes if scheme not in known]
    if not added:
        return False
    choice = Choice(before.op if isinstance(before, Choice) else before, (*known, *added))
    if isinstance(before, Choice):
        with torch.no_grad():
            choice.logits[: len(known)] = before.logits
    choice.training = before.training
    call_instead(module, node, choice)
    return True


PASS = InsertSparseChoices
