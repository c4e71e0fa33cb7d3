"""Remove what does nothing at inference."""

from dataclasses import dataclass
from typing import final

from hwcomp.ops import op_of
from hwcomp.program import PassResult, Program, finish


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DropIdentity:
    """Remove identities and dropout, which are the identity at inference.

    Before: ``x -> dropout -> y``; after: ``x -> y``.
    """

    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the program without them."""
        result = program.fork()
        useless = [node for node in result.nodes if op_of(node) in ("identity", "dropout") and node.all_input_nodes]
        for node in useless:
            node.replace_all_uses_with(node.all_input_nodes[0])
            result.module.graph.erase_node(node)
        return PassResult(program=finish(result), changed=len(useless))


PASS = DropIdentity
