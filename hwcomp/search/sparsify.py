"""What the methods that make weights sparse share: operators with masks, and exact zeros at the end."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import fx, nn

from hwcomp.errors import InputError
from hwcomp.ops import anchor, module_of
from hwcomp.program import Program, finish, fresh_name
from hwcomp.scheme import Sparse
from hwcomp.search.recovery import Recovery
from hwcomp.sharing import parameter_uses
from hwcomp.sparsity import MIN_KEPT, Initial, SparseOperator
from hwcomp.supernet import weights_to_source
from hwcomp.train import EpochRecord

RATE = 0.05
"""Learning rate, if the user gave none: the weights that stay have far to go to stand in for those that leave."""

CLIP = 5.0
"""Largest norm of all gradients together, if the user gave none.

An output channel that has lost all its weights is constant, and BatchNorm multiplies its gradient by hundreds: by one
over the square root of its epsilon. Scores feel that, for theirs is not masked.
"""


@dataclass(frozen=True, kw_only=True)
class Sparsify:
    """A network whose weights are to become sparse.

    Attributes:
        network: as traced.
        sites: names of the nodes of convolutions and linear layers.
        sparse: the pattern and the density of each.
        recovery: trains.
        initial: where scores start, see `hwcomp.sparsity.SparseOperator`.
        min_kept: weights that every layer keeps.
    """

    network: Program
    sites: tuple[str, ...]
    sparse: Sparse
    recovery: Recovery
    initial: Initial = "magnitude"
    min_kept: int = MIN_KEPT

    def masked(self) -> "Masked":
        """Return a copy of the network in which the sites compute with masks.

        Raises:
            InputError: there is no site, or one that cannot be sparse.
        """
        source = replace(self.network, module=deepcopy(self.network.module))
        result, generator = source.fork(), torch.Generator().manual_seed(self.recovery.seed)
        nodes = {node.name: node for node in result.nodes}
        check_sites(self.sites, nodes)
        for site in self.sites:
            module = module_of(nodes[site])
            assert module is not None
            operator = SparseOperator(
                module, self.sparse, initial=self.initial, min_kept=self.min_kept, generator=generator
            )
            path = fresh_name(result.module, f"{site}_sparse")
            result.module.add_submodule(path, operator)
            nodes[site].target = path
        return Masked(program=finish(result), source=source, sites=self.sites)

    @property
    def goal(self) -> dict[str, object]:
        """What the training works towards, as JSON takes it."""
        return {
            "sites": list(self.sites), "sparse": str(self.sparse), "scores": self.initial, "min_kept": self.min_kept,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Sparsified:
    """A trained network whose weights are sparse.

    Attributes:
        network: as traced, with zeros where weights are left out.
        choices: site -> name of its scheme, like "sparse4x1:0.1".
        history: what happened in each epoch of training.
        notes: what is to be known of it: layers that kept more than was asked.
    """

    network: Program
    choices: Mapping[str, str]
    history: tuple[EpochRecord, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Masked:
    """A network in which some operators compute with masks.

    Attributes:
        program: to train; its leaf modules are those of the source.
        source: the same without masks.
        sites: whose operators have masks.
    """

    program: Program
    source: Program
    sites: tuple[str, ...]

    def operators(self, module: nn.Module) -> Iterator[tuple[str, SparseOperator]]:
        """Return each site of a copy of the program with its operator."""
        paths = {node.name: str(node.target) for node in self.program.nodes}
        for site in self.sites:
            operator = module.get_submodule(paths[site])
            assert isinstance(operator, SparseOperator)
            yield site, operator

    def sparsified(self, trained: Program, history: tuple[EpochRecord, ...]) -> Sparsified:
        """Return what a trained copy of the program computes, with zeros in place of masks."""
        network = weights_to_source(trained.module, self.program, self.source)
        nodes, choices, notes = {node.name: node for node in network.nodes}, {}, []
        for site, operator in self.operators(trained.module):
            weight = _weight(nodes[site])
            with torch.no_grad():
                weight.masked_fill_(operator.mask == 0, 0.0)
            choices[site] = str(operator.sparse)
            if operator.is_guarded:
                notes.append(
                    f"'{site}' keeps {int(operator.mask.sum())} of {weight.numel()} weights, more than "
                    f"{operator.sparse} asks for: a layer keeps at least {operator.least}"
                )
        return Sparsified(network=network, choices=choices, history=history, notes=tuple(notes))


def check_sites(sites: tuple[str, ...], nodes: Mapping[str, fx.Node]) -> None:
    """Make sure that each site is a layer with a weight of its own.

    Raises:
        InputError: one is not, there is none, or one is named twice.
    """
    if not sites or len(set(sites)) < len(sites):
        raise InputError(f"No layer, or one twice, is to be made sparse ({', '.join(sites)}); name each once.")
    uses = parameter_uses(nodes.values())
    for site in sites:
        layer = None if site not in nodes else module_of(nodes[site])
        weight = None if layer is None else getattr(anchor(layer), "weight", None)
        if not isinstance(weight, nn.Parameter):
            raise InputError(f"'{site}' is no convolution or linear layer of this network; name the node of one.")
        if uses[id(weight)] > 1:
            raise InputError(f"The weight of '{site}' is used at {uses[id(weight)]} places; leave it dense.")


def _weight(node: fx.Node) -> nn.Parameter:
    module = module_of(node)
    assert module is not None
    weight = anchor(module).weight
    assert isinstance(weight, nn.Parameter)
    return weight
