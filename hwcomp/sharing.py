"""Which parameters are used at several places of a graph."""

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter

from torch import Tensor, fx

from hwcomp.ops import module_of


def parameter_uses(nodes: Iterable[fx.Node]) -> Counter[int]:
    """Return how many nodes compute with each parameter, by its identity: those of their modules, or read as such."""
    found: Counter[int] = Counter()
    for node in nodes:
        module = module_of(node)
        if module is not None:
            found.update(id(parameter) for parameter in module.parameters())
        elif node.op == "get_attr":
            value = attrgetter(str(node.target))(node.graph.owning_module)
            if isinstance(value, Tensor):
                found[id(value)] += 1
    return found
