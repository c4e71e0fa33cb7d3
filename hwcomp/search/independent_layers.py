r"""Soft pruning as in the papers: every convolution for itself, to compare with published numbers.

Filters become zero and stay. What a layer needs is counted as :math:`(1 - P_{out})(1 - P_{in})`, where a layer that
reads a sum of branches has :math:`P_{in} = 0`. Normalisation is left alone, so a zero filter still gives a constant,
and a shortcut keeps every channel of a sum alive: no smaller network computes the same, see docs/decisions/0009. Use it
for nothing but comparisons.
"""

from collections.abc import Mapping

import torch
from torch import fx, nn

from hwcomp.macs import macs_by_node
from hwcomp.ops import module_of
from hwcomp.program import Program
from hwcomp.search.filter_schedule import Schedule, pruned_count
from hwcomp.search.shrink import Shrink
from hwcomp.search.shrunk import Shrunk
from hwcomp.search.zero_training import train_with_zeros


def prune_independently(shrink: Shrink, schedule: Schedule, method: str) -> Shrunk:
    """Return the trained network with zeros for a share of the filters of every convolution but projections.

    Source: [He2018]_ and [He2020]_; the norm is L2, pruning comes after each epoch and, at a constant rate, before the
    first one too.

    Raises:
        InputError: there is no rate, or no training data.
    """
    rate, layers = shrink.rate, prunable_layers(shrink.network)

    def zero(module: nn.Module, done: float) -> None:
        _zero(module, layers, schedule(done, 1, rate))

    trained, history = train_with_zeros(shrink, f"{method}, layers for themselves", zero)
    saved = (
        f"every layer for itself: {100 * macs_saved(trained, rate):.1f} % of the multiply-accumulates of convolutions "
        "would be saved as the papers count; the filters are zero but still there"
    )
    return Shrunk(network=trained, widths={}, history=history, notes=(saved,))


def prunable_layers(network: Program) -> dict[str, str]:
    """Return node -> path of its module for every convolution but the projections of shortcuts."""
    return {
        node.name: str(node.target)
        for node in network.nodes
        if isinstance(module_of(node), nn.Conv2d) and not _is_projection(node)
    }


def macs_saved(network: Program, rate: float) -> float:
    """Return the share of the convolutions' multiply-accumulates that a rate saves, as the papers count."""
    layers, macs = prunable_layers(network), macs_by_node(network)
    left = 0.0
    for node in network.nodes:
        if node.name in macs:
            out = 1 - rate if node.name in layers else 1.0
            source = _maker(node.all_input_nodes[0])
            left += macs[node.name] * out * (1 - rate if source is not None and source.name in layers else 1.0)
    return 1 - left / max(sum(macs.values()), 1)


def _zero(module: nn.Module, layers: Mapping[str, str], share: float) -> None:
    with torch.no_grad():
        for path in layers.values():
            weight = module.get_submodule(path).weight
            assert isinstance(weight, torch.Tensor)
            norms = weight.flatten(1).norm(dim=1)
            weight[torch.argsort(norms, stable=True)[: pruned_count(len(norms), share)]] = 0.0


def _is_projection(node: fx.Node) -> bool:
    """Return whether a convolution of single pixels reads what another convolution reads too."""
    module = module_of(node)
    assert isinstance(module, nn.Conv2d)
    others = [user for user in node.all_input_nodes[0].users if user is not node]
    return module.kernel_size == (1, 1) and any(isinstance(module_of(other), nn.Conv2d) for other in others)


def _maker(node: fx.Node) -> fx.Node | None:
    """Return the convolution whose channels a tensor has, or None where branches meet."""
    while not isinstance(module_of(node), nn.Conv2d):
        if len(node.all_input_nodes) != 1:
            return None
        node = node.all_input_nodes[0]
    return node
