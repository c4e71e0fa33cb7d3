"""Split layers by their filters, so that filters of one layer may get different precisions."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import final

import torch
from torch import fx, nn

from hwcomp.errors import InputError
from hwcomp.ops import module_of
from hwcomp.passes._filters import (
    LAYERS,
    Chain,
    chain_of,
    channel_axis,
    filters_in,
    has_filters,
    part_name,
    sliced,
    whole_name,
)
from hwcomp.program import Note, PassResult, Program, finish


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SplitFilters:
    """Compute the filters of a layer by several layers, one after the other in their concatenation.

    Before: ``x -> conv -> batch_norm -> relu -> y``; after: ``x -> conv_part0 -> batch_norm_part0 -> relu_part0 ->
    conv_cat -> y`` and ``x -> conv_part1 -> batch_norm_part1 -> relu_part1 -> conv_cat``. A runtime computes a layer in
    one precision, so a layer of two precisions is two layers and a concatenation, and costs as much.
    For convolutions in two dimensions and linear layers. BatchNorm, ReLU and ReLU6 that alone follow are split with the
    filters, so that each part is folded and fused as the whole was; all else reads the concatenation.
    `MergeFilters` puts together again what turns out alike. Source: [Zur2019]_, Towards learning of filter-level
    heterogeneous compression of convolutional neural networks, whose filters each choose alone.

    Attributes:
        parts: how many of each layer; fewer where one would have less than ``multiple`` filters.
        sites: names of the layers to split; None for all.
        multiple: parts begin at multiples of so many filters.
        share: of the filters that the first of two parts has, as nearly as the multiple allows; None for equal parts.

    Raises:
        InputError: fewer than two parts, a ``multiple`` below one, a share that is not between 0 and 1 or that more
            than two parts are given.
    """

    parts: int = 2
    sites: tuple[str, ...] | None = None
    multiple: int = 8
    share: float | None = None
    preserves: bool = True

    def __post_init__(self) -> None:
        if self.parts < 2 or self.multiple < 1:
            raise InputError(
                f"Layers cannot be split into {self.parts} parts of multiples of {self.multiple} filters; "
                "take at least 2 parts and multiples of at least 1."
            )
        if self.share is not None and (self.parts != 2 or not 0 < self.share < 1):
            raise InputError(
                f"The first of {self.parts} parts cannot have a share of {self.share:g} of the filters; give a share "
                "between 0 and 1, of 2 parts."
            )

    def __call__(self, program: Program) -> PassResult:
        """Return the program with layers in parts; a layer that stays whole is noted with the reason.

        Raises:
            InputError: one of the sites is no convolution or linear layer.
        """
        result = program.fork()
        layers = [node for node in result.nodes if isinstance(module_of(node), LAYERS)]
        self._check_sites([node.name for node in layers])
        uses = _uses(result.module)
        taken = {name for name, _ in result.module.named_modules()} | {node.name for node in result.nodes}
        changed, notes = 0, []
        for layer in layers:
            if self.sites is not None and layer.name not in self.sites:
                continue
            chain, bounds = chain_of(layer), self._bounds(layer)
            reason = _why_not(chain, uses) or self._why_not(chain, bounds, taken)
            if reason is not None:
                notes.append(Note(site=layer.name, reason=f"filters not split: {reason}"))
                continue
            _split(result.module, chain, bounds)
            changed += 1
        return PassResult(program=finish(result.fork()), changed=changed, notes=tuple(notes))

    def _check_sites(self, known: Sequence[str]) -> None:
        for site in self.sites or ():
            if site not in known:
                raise InputError(
                    f"There is no convolution or linear layer {site!r} to split; take some of: {', '.join(known)}."
                )

    def _bounds(self, layer: fx.Node) -> list[int]:
        """Return where parts begin, and the number of filters."""
        module = module_of(layer)
        assert module is not None
        filters = filters_in(module)
        blocks = filters // self.multiple
        parts = max(min(self.parts, blocks), 1)
        if self.share is not None and parts == 2:
            return [0, min(max(round(self.share * blocks), 1), blocks - 1) * self.multiple, filters]
        return [index * blocks // parts * self.multiple for index in range(parts)] + [filters]

    def _why_not(self, chain: Chain, bounds: Sequence[int], taken: set[str]) -> str | None:
        if len(bounds) < 3:
            return f"it has {bounds[-1]} of them, fewer than {2 * self.multiple}"
        names = [node.name for node in chain] + [str(node.target) for node in chain if has_filters(node)]
        for name in names:
            if part_name(name, 0) in taken:
                return f"there is a {part_name(name, 0)!r} already"
        return None


def part_names(layer: str) -> tuple[str, str, str]:
    """Return the names of the nodes that take the place of a layer in two parts: the parts, their concatenation."""
    return part_name(layer, 0), part_name(layer, 1), _cat_name(layer)


def _cat_name(layer: str) -> str:
    return f"{layer}_cat"


def _why_not(chain: Chain, uses: Counter[int]) -> str | None:
    layer = module_of(chain[0])
    assert layer is not None
    if whole_name(chain[0].name) is not None:
        return "it is a part already"
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        return f"it has {layer.groups} groups"
    if "weight" not in dict(layer.named_parameters(recurse=False)):
        return "its weight is computed from other parameters"
    for node in filter(has_filters, chain):
        if any(uses[tensor] > 1 for tensor in _tensors(module_of(node))):
            return f"the weights of '{node.target}' are used in several places"
    return None


def _uses(module: fx.GraphModule) -> Counter[int]:
    """Return in how many places of the graph each parameter and buffer is used, by identity."""
    uses: Counter[int] = Counter()
    for node in module.graph.nodes:
        if node.op == "get_attr":
            uses[id(attrgetter(str(node.target))(module))] += 1
        else:
            uses.update(_tensors(module_of(node)))
    return uses


def _tensors(module: nn.Module | None) -> set[int]:
    return {id(tensor) for tensor in (*module.parameters(), *module.buffers())} if module is not None else set()


def _split(module: fx.GraphModule, chain: Chain, bounds: Sequence[int]) -> None:
    """Put parts in the place of each node of a chain, and a concatenation after the last."""
    graph, axis = module.graph, channel_axis(chain[0])
    ranges = list(itertools.pairwise(bounds))
    sources = [chain[0].all_input_nodes[0]] * len(ranges)
    for node in chain:
        with graph.inserting_before(node):
            sources = [_part(module, node, source, index, *ranges[index]) for index, source in enumerate(sources)]
    with graph.inserting_before(chain[-1]):
        whole = graph.create_node("call_function", torch.cat, (sources, axis), name=_cat_name(chain[0].name))
    chain[-1].replace_all_uses_with(whole)
    for node in reversed(chain):
        graph.erase_node(node)


def _part(module: fx.GraphModule, node: fx.Node, source: fx.Node, index: int, start: int, stop: int) -> fx.Node:
    """Return a new node that computes some of the channels of another from the same channels of its input."""
    target, owner = node.target, module_of(node)
    if has_filters(node):
        assert owner is not None
        target = part_name(str(target), index)
        module.add_submodule(target, sliced(owner, start, stop))
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda _: source)
    name = part_name(node.name, index)
    return module.graph.create_node(node.op, target, args, kwargs, name=name, type_expr=node.type)


PASS = SplitFilters
