"""Which layers of a network become sparse where the user gives one density for all of them."""

from dataclasses import dataclass

from torch import fx, nn

from hwcomp.choice import Choice
from hwcomp.errors import InputError
from hwcomp.macs import PRODUCTS, macs_by_node
from hwcomp.ops import WEIGHTED, anchor, module_of, op_of
from hwcomp.passes.insert_sparse_choices import InsertSparseChoices
from hwcomp.program import Note, Program
from hwcomp.scheme import Sparse

LAYERS = WEIGHTED | {"conv_transpose2d"}

SMALL_CLASSIFIER = 0.1
"""Share of a network's multiply-accumulates below which its last layer stays dense: there is little to gain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseSites:
    """The layers of a network, by whether they become sparse.

    Attributes:
        sites: names of nodes of those that do, in execution order.
        dense: the others, each with the reason.
    """

    sites: tuple[str, ...]
    dense: tuple[Note, ...]


def sparse_sites(network: Program, sparse: Sparse) -> SparseSites:
    """Return the layers that a pattern is for: each conv2d without groups and each linear layer, with two exceptions.

    A convolution before which there is no other layer stays dense, for it has few input channels and all later ones
    depend on it; and so does a linear layer behind which there is no other, where it does less than
    `SMALL_CLASSIFIER` of the network's multiply-accumulates.

    Args:
        network: as traced.
        sparse: the pattern and its density.

    Raises:
        InputError: no layer is left.
    """
    if sparse.group is None:
        offers = InsertSparseChoices(densities=(sparse.density,), blocks=((sparse.rows, sparse.columns),))
    else:
        kept = round(sparse.exact_density * sparse.group)
        offers = InsertSparseChoices(densities=(), groups=((kept, sparse.group),))
    offered = offers(network)
    excepted = _first_convolutions(network) | _small_classifiers(network)
    able = [node.name for node in offered.program.nodes if isinstance(module_of(node), Choice)]
    dense = {note.site: note.reason for note in offered.notes} | excepted
    sites = tuple(name for name in able if name not in excepted)
    notes = tuple(Note(site=node.name, reason=dense[node.name]) for node in network.nodes if node.name in dense)
    if not sites:
        reasons = "; ".join(f"{note.site}: {note.reason}" for note in notes[:3]) or "it has no layers with weights"
        raise InputError(f"No layer of this network can become {sparse} ({reasons}); use another --method or pattern.")
    return SparseSites(sites=sites, dense=notes)


def _first_convolutions(network: Program) -> dict[str, str]:
    """Return the convolutions that nothing with a weight comes before, with the reason why they stay dense."""
    behind: set[fx.Node] = set()
    for node in network.nodes:
        if any(source in behind or op_of(source) in LAYERS for source in node.all_input_nodes):
            behind.add(node)
    first = [node for node in network.nodes if op_of(node) == "conv2d" and node not in behind]
    return {node.name: "stays dense: it is the first convolution" for node in first if not _is_grouped(node)}


def _is_grouped(node: fx.Node) -> bool:
    module = module_of(node)
    inner = None if module is None else anchor(module)
    return isinstance(inner, nn.Conv2d) and inner.groups > 1


def _small_classifiers(network: Program) -> dict[str, str]:
    """Return the linear layers that nothing with a weight comes after and that do little, with the reason."""
    before: set[fx.Node] = set()
    for node in reversed(network.nodes):
        if any(user in before or op_of(user) in LAYERS for user in node.users):
            before.add(node)
    macs = macs_by_node(network, PRODUCTS)
    whole, found = max(sum(macs.values()), 1), dict[str, str]()
    for node in network.nodes:
        share = macs.get(node.name, 0) / whole
        if op_of(node) == "linear" and node not in before and share < SMALL_CLASSIFIER:
            found[node.name] = f"stays dense: the last layer does only {share:.1%} of the multiply-accumulates"
    return found
