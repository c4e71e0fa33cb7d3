"""Merge the parts of a layer that `SplitFilters` split, where they are to be computed alike."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import fx

from hwcomp.ops import module_of, op_of
from hwcomp.passes._filters import LAYERS, Chain, alike, chain_of, channel_axis, has_filters, joined, whole_name
from hwcomp.program import Note, PassResult, Program, finish
from hwcomp.scheme import FLOAT


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MergeFilters:
    """Join neighbouring parts of a layer that have the same scheme.

    Before: ``x -> conv_part0 -> cat``, ``x -> conv_part1 -> cat``, ``x -> conv_part2 -> cat``, with BatchNorm and ReLU
    of their own; after, where the first two have one scheme: ``x -> conv_part0 -> cat``, ``x -> conv_part2 -> cat``;
    where all have: ``x -> conv``, with the names that layer, BatchNorm and ReLU had before the split.

    Attributes:
        same: name of the part's layer -> its scheme, "float" where it is not named; None joins all parts.
    """

    same: Mapping[str, str] | None = None
    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the merged program; a part that has the scheme of the one before it and is not joined is noted."""
        result = program.fork()
        changed, notes = 0, []
        for split in list(_splits(result, self.same)):
            for run in split.runs:
                _join(result.module, run)
            split.cat.args = ([run[0][-1] for run in split.runs], *split.cat.args[1:])
            for run in split.runs:
                _erase(chain for chain in run[1:])
            if split.is_whole:
                _restore(result.module, split.cat, split.runs[0][0])
            changed += sum(len(run) - 1 for run in split.runs)
            reason = "filters not merged: the part differs in more than them from the one before it"
            notes += [Note(site=name, reason=reason) for name in split.unlike]
        return PassResult(program=finish(result.fork()), changed=changed, notes=tuple(notes))


def merged_names(program: Program, same: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the layers that `MergeFilters` gives another name: part -> the merged layer.

    Args:
        program: before it is merged.
        same: as for `MergeFilters`.
    """
    names: dict[str, str] = {}
    for split in _splits(program, same):
        for run in split.runs:
            first = run[0][0].name
            new = whole_name(first) or first if split.is_whole else first
            names |= {chain[0].name: new for chain in run if chain[0].name != new}
    return names


def merged_assignment(program: Program, assignment: Mapping[str, str]) -> dict[str, str]:
    """Return what a split network's assignment, by which it is merged, means for the merged network.

    Args:
        program: before it is merged, as traced.
        assignment: site -> scheme, of the split network.
    """
    gone = {split.cat.name for split in _splits(program, assignment) if split.is_whole}
    names = merged_names(program, assignment)
    return {names.get(site, site): scheme for site, scheme in assignment.items() if site not in gone}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Split:
    """The parts of a layer, those to be joined together, and parts that would be if they were alike."""

    cat: fx.Node
    runs: tuple[tuple[Chain, ...], ...]
    unlike: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return len(self.runs) == 1


def _splits(program: Program, same: Mapping[str, str] | None) -> Iterator[_Split]:
    """Give all layers that are in parts."""
    layers = [node for node in program.nodes if isinstance(module_of(node), LAYERS) and whole_name(node.name)]
    ends = {chain[-1]: chain for chain in map(chain_of, layers) if len(chain[-1].users) == 1}
    for cat in program.nodes:
        sources: Any = cat.args[0] if op_of(cat) == "cat" and cat.args else ()
        if not isinstance(sources, (tuple, list)) or len(set(sources)) < max(len(sources), 2):
            continue
        chains = [ends[source] for source in sources if source in ends]
        if len(chains) == len(sources) and _is_one_layer(cat, chains):
            yield _grouped(cat, chains, same)


def _is_one_layer(cat: fx.Node, chains: Sequence[Chain]) -> bool:
    axis: Any = cat.args[1] if len(cat.args) > 1 else cat.kwargs.get("dim", 0)
    names = {whole_name(chain[0].name) for chain in chains}
    return len(names) == 1 and {channel_axis(chain[0]) for chain in chains} == {axis}


def _grouped(cat: fx.Node, chains: Sequence[Chain], same: Mapping[str, str] | None) -> _Split:
    schemes = {chain: (same or {}).get(chain[0].name, FLOAT) for chain in chains}
    runs, unlike = [[chains[0]]], []
    for before, chain in itertools.pairwise(chains):
        wanted = same is None or schemes[before] == schemes[chain]
        if wanted and _are_alike(before, chain):
            runs[-1].append(chain)
            continue
        runs.append([chain])
        if wanted:
            unlike.append(chain[0].name)
    return _Split(cat=cat, runs=tuple(map(tuple, runs)), unlike=tuple(unlike))


def _are_alike(one: Chain, other: Chain) -> bool:
    """Return whether two chains compute the same from the same input, but for their filters."""
    if len(one) != len(other) or one[0].all_input_nodes != other[0].all_input_nodes:
        return False
    pairs = list(zip(one, other, strict=True))
    return all(left.op == right.op and alike(module_of(left), module_of(right)) for left, right in pairs) and all(
        left.target == right.target for left, right in pairs if not has_filters(left)
    )


def _join(module: fx.GraphModule, run: Sequence[Chain]) -> None:
    """Make the first chain of several compute what all of them do."""
    for nodes in zip(*run, strict=True) if len(run) > 1 else ():
        if has_filters(nodes[0]):
            owners = [owner for owner in map(module_of, nodes) if owner is not None]
            module.add_submodule(str(nodes[0].target), joined(owners))


def _erase(chains: Iterator[Chain]) -> None:
    for chain in chains:
        for node in reversed(chain):
            node.graph.erase_node(node)


def _restore(module: fx.GraphModule, cat: fx.Node, chain: Chain) -> None:
    """Give the nodes and modules of a whole layer their own names, and take away the concatenation of one."""
    graph = module.graph
    for node in chain:
        target, owner = node.target, module_of(node)
        if owner is not None and has_filters(node):
            target = whole_name(str(target)) or str(target)
            module.add_submodule(target, owner)
        name = whole_name(node.name) or node.name
        with graph.inserting_before(node):
            whole = graph.create_node(node.op, target, node.args, node.kwargs, name=name, type_expr=node.type)
        node.replace_all_uses_with(whole)
        graph.erase_node(node)
    (last,) = cat.all_input_nodes
    cat.replace_all_uses_with(last)
    graph.erase_node(cat)


PASS = MergeFilters
