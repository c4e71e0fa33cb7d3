"""Make convolutions and linear layers searchable in sparse weights."""

from dataclasses import dataclass
from typing import final

from torch import Tensor, fx, nn

from hwcomp.errors import InputError
from hwcomp.ops import WEIGHTED, anchor, module_of, op_of
from hwcomp.passes._sparse import offer, why_not_sparse
from hwcomp.program import Note, PassResult, Program, finish
from hwcomp.scheme import Sparse
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
            reason = why_not_sparse(node, uses, depthwise=self.depthwise)
            if reason is None and not self._fitting(node):
                reason = f"no pattern fits its weight of {_channels(node)} channels"
            if reason is not None:
                notes.append(Note(site=node.name, reason=f"stays dense: {reason}"))
                continue
            changed += offer(result.module, node, self._fitting(node))
        return PassResult(program=finish(result), changed=changed, notes=tuple(notes))

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


def _channels(node: fx.Node) -> str:
    """Return the output and input channels of a layer's weight, "8x16"."""
    module = module_of(node)
    assert module is not None
    weight = anchor(module).weight
    assert isinstance(weight, Tensor)
    return "x".join(map(str, weight.shape[:2]))


PASS = InsertSparseChoices
