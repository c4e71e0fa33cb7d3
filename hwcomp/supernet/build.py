"""Network -> supernet: every choice of precision and width at once, on one set of weights."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, fx

from hwcomp.choice import Choice
from hwcomp.default_passes import training_passes
from hwcomp.errors import InputError
from hwcomp.groups import Groups
from hwcomp.ops import module_of
from hwcomp.program import Note, Program, finish, fresh_name, run_passes
from hwcomp.quantizer import QuantParams
from hwcomp.scheme import is_simulated
from hwcomp.supernet.coefficients import sites_of
from hwcomp.supernet.gates import insert_width_choices
from hwcomp.supernet.precision import PrecisionSite
from hwcomp.supernet.rounding import in_mode_of
from hwcomp.supernet.site import Site
from hwcomp.supernet.stores import Roundings, StoredTensor, has_params, store_after
from hwcomp.supernet.width import Gated
from hwcomp.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Supernet:
    """A network in which precisions and widths are searched.

    Attributes:
        program: computes what the network does until `hwcomp.supernet.set_coefficients` says otherwise.
        source: the network as traced; its leaf modules are those of the program, so they train together.
        sites: names of all sites: nodes, and "width:" with a group.
        left_out: groups whose width cannot be searched, with the reason.
    """

    program: Program
    source: Program
    sites: tuple[str, ...]
    left_out: tuple[Note, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """Which widths are searched.

    Attributes:
        groups: of the network as traced.
        choices: group -> widths, ascending, the last one full; groups that are not named stay as wide as they are.
        ranks: group -> rank of each channel, 0 for the most important one, (C,).
    """

    groups: Groups
    choices: Mapping[str, Sequence[int]]
    ranks: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What sites are made with; see `supernet`."""

    weight_bits: int
    noise: float
    filter_ranks: Mapping[str, Tensor]


def supernet(  # noqa: PLR0913 - each is a part of the space that a search may leave out
    network: Program,
    target: Target,
    params: Mapping[str, QuantParams],
    *,
    widths: Widths | None = None,
    candidates: Mapping[str, Sequence[str]] | None = None,
    alone: bool = False,
    filter_ranks: Mapping[str, Tensor] | None = None,
    noise: float = 0.0,
) -> Supernet:
    """Return the supernet of a network, in eval mode.

    Before: ``x -> conv -> batch_norm -> relu -> y``; after:
    ``x -> stored x -> PrecisionSite(Fused(Normalised(conv, batch_norm), relu); widths of x) -> stored y``. Sites and
    tensors have the names that they have in the default flow.

    Args:
        network: as traced; it is copied.
        target: decides the candidates of each site.
        params: of every tensor, from `hwcomp.calibration` on the program of the default flow.
        widths: which are searched; None for none.
        candidates: site -> schemes, in place of those of the target, also ones that are simulated, like "w4a4", and two
            schemes for the filters of one layer, like "float:0.25+int8".
        alone: whether only the sites that have candidates here choose; the others stay float.
        filter_ranks: site -> rank of each filter, 0 for the one that matters most; sites with two schemes need it.
        noise: share of the rounded weights that get noise in training, see `hwcomp.supernet.weights.round_weight`.

    Raises:
        InputError: an unknown group or scheme, or widths or ranks that do not fit a group.
    """
    source = replace(network, module=copy.deepcopy(network.module))
    joined = run_passes(source, training_passes(target))
    program, left_out = joined, tuple[Note, ...]()
    if widths is not None:
        program, left_out = insert_width_choices(joined, source, widths.groups, widths.choices, widths.ranks)
    options = Options(weight_bits=target.weight_bits, noise=noise, filter_ranks=filter_ranks or {})
    program = _with_sites(program, _candidates(joined, candidates or {}, alone=alone), params, options)
    program = _with_stores(program, joined, params)
    return Supernet(program=program, source=source, sites=tuple(sites_of(program.module)), left_out=left_out)


def _candidates(joined: Program, asked: Mapping[str, Sequence[str]], *, alone: bool) -> dict[str, Sequence[str]]:
    """Return the schemes of each site that has a choice."""
    modules = {node.name: module_of(node) for node in joined.nodes}
    for name, schemes in asked.items():
        if modules.get(name) is None or not schemes:
            raise InputError(f"No operator '{name}' can choose between {list(schemes)}; name an operator and schemes.")
    own = {name: module.candidates for name, module in modules.items() if isinstance(module, Choice) and not alone}
    return {**own, **asked}


def _with_sites(
    program: Program,
    candidates: Mapping[str, Sequence[str]],
    params: Mapping[str, QuantParams],
    options: Options,
) -> Program:
    """Return the program with a site in place of each operator that has candidates."""
    result = program.fork()
    for node in result.nodes:
        if node.name not in candidates:
            continue
        module = module_of(node)
        gate = module.gate if isinstance(module, Gated) else None
        module = module.op if isinstance(module, Gated) else module
        operator = module.op if isinstance(module, Choice) else module
        assert operator is not None
        site = PrecisionSite(
            node.name, operator, candidates[node.name], inputs=_inputs(node, candidates[node.name], params),
            weight_bits=options.weight_bits, noise=options.noise, gate=gate, ranks=options.filter_ranks.get(node.name),
        )  # fmt: skip
        path = fresh_name(result.module, f"{node.name}_site")
        result.module.add_submodule(path, in_mode_of(site, operator))
        node.target = path
    return finish(result)


def _inputs(node: fx.Node, schemes: Sequence[str], params: Mapping[str, QuantParams]) -> list[QuantParams]:
    """Return the parameters of what a site reads, for schemes that are simulated."""
    if not any(is_simulated(scheme) for scheme in schemes):
        return []
    missing = [source.name for source in node.all_input_nodes if source.name not in params]
    if missing:
        raise InputError(
            f"'{node.name}' cannot be simulated in integers: nothing is known of its input '{missing[0]}'."
        )
    return [params[source.name] for source in node.all_input_nodes]


def _with_stores(program: Program, joined: Program, params: Mapping[str, QuantParams]) -> Program:
    """Return the program in which each tensor that a site may store as integers is rounded after its maker."""
    result, sites, roundings = program.fork(), sites_of(program.module), Roundings(joined, params)
    readers = {node.name: tuple(user.name for user in node.users) for node in joined.nodes}
    for node in result.nodes:
        if has_params(node, params) and _may_be_stored(sites, node.name, readers[node.name]):
            stored = StoredTensor(node.name, readers[node.name], roundings.of(node.name), 0.0)
            store_after(result, node, stored, tuple(node.users))
    return finish(result)


def _may_be_stored(sites: Mapping[str, Site], tensor: str, readers: Sequence[str]) -> bool:
    """Return whether a tensor's maker may write integers, or a reader may want them."""
    maker = sites.get(tensor)
    writes = isinstance(maker, PrecisionSite) and bool(maker.writes.any())
    found = [sites.get(reader) for reader in readers]
    return writes or any(isinstance(site, PrecisionSite) and bool(site.reads.any()) for site in found)
