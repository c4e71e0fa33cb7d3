"""``hwcomp doctor``: what is installed and usable, what of a model can be quantised, and what could be reached."""

from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from math import log10

from rich.console import Console
from rich.table import Table

from hwcomp.benches import Context, make_bench
from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.devices.agent.gpus import gpus
from hwcomp.filter_splits import split_network
from hwcomp.fingerprint import environment
from hwcomp.groups import Groups, width_groups
from hwcomp.kernels import search_space
from hwcomp.latency_table import trust
from hwcomp.passes.split_filters import part_names
from hwcomp.pipeline import trace_workload, transformed
from hwcomp.prepared import prepare_for_search
from hwcomp.program import Program
from hwcomp.scheme import NARROW, Split
from hwcomp.search.knapsack import Sensitivity, solve
from hwcomp.space import SearchSpace
from hwcomp.split_costs import PAIRS
from hwcomp.split_stage import split_candidates
from hwcomp.stages import Stages, cache_root
from hwcomp.target import load
from hwcomp.width_designs import candidates
from hwcomp.workload import Workload

MULTIPLE = 8
"""Steps of widths, in channels, by which the space is counted before anything is measured."""

RUNTIMES = {"onnxruntime": "runs and measures artifacts", "tvm": "compiles own kernels and stand-alone libraries"}


def diagnose_environment(console: Console) -> None:
    """Print the machine, the versions, and what is usable."""
    table = Table("here", "found", show_header=True)
    for key, value in environment().items():
        table.add_row(key, value)
    for runtime, purpose in RUNTIMES.items():
        found = find_spec(runtime) is not None
        table.add_row(runtime, f"[green]usable[/green]: {purpose}" if found else f"not installed: {purpose}")
    host = load("host")
    table.add_row("integers", f"{host.activation} activations, {host.weight_bits}-bit weights")
    devices, problem = gpus()
    table.add_row("gpu", ", ".join(f"{gpu['name']}, driver {gpu['driver']}" for gpu in devices) or problem)
    console.print(table)


ON_GPUS = (
    "  These are for methods that train (--method). Without one the whole network gets one precision: "
    "`hwcomp compile --dry-run` names those that would be compared."
)


def diagnose_model(workload: Workload, config: CompileConfig, reporter: Reporter) -> None:
    """Print what of a model can be quantised, what not and why, and the latencies within reach."""
    target = load(config.target)
    network = trace_workload(workload, reporter)
    program = transformed(network, target, reporter)
    space = search_space(program)
    table = Table("operator", "sites", "schemes", title=f"{workload.name} on {target.name}")
    kinds = Counter((site.op, ", ".join(site.candidates)) for site in space.sites)
    for (op, schemes), count in kinds.most_common():
        table.add_row(op, str(count), schemes)
    reporter.console.print(table)
    if target.gpu is not None:
        reporter.console.print(ON_GPUS, highlight=False, soft_wrap=True)
    for note in program.notes:
        reporter.console.print(f"  {note.site}: {note.reason}", highlight=False, soft_wrap=True)
    groups = width_groups(network)
    report_space(space, groups, reporter, with_split_layers(space, network, groups, config.searching.filter_share))
    report_reach(workload, program, space, config, reporter)


def with_split_layers(space: SearchSpace, network: Program, groups: Groups, share: float) -> SearchSpace:
    """Return the space in which every layer that can be split may have two schemes; a search keeps those that pay.

    Args:
        space: of the network after the default passes.
        network: as traced.
        groups: of it.
        share: of the filters that the more precise scheme gets; 0 for layers of one scheme each.
    """
    layers, further = split_candidates(network, groups) if share else [], dict[str, list[str]]()
    for first, second in PAIRS:
        split = Split(first=first, share=share, second=second)
        able = [site.name for site in space.sites if site.name in layers and {first, second} <= {*site.candidates}]
        in_parts = split_network(network, dict.fromkeys(able, split), MULTIPLE)
        names = {node.name for node in in_parts.nodes}
        for layer in able:
            if part_names(layer)[0] in names:  # it is wide enough
                further.setdefault(layer, []).append(str(split))
    sites = (replace(site, candidates=(*site.candidates, *further.get(site.name, []))) for site in space.sites)
    return replace(space, sites=tuple(sites))


def report_space(space: SearchSpace, groups: Groups, reporter: Reporter, split: SearchSpace) -> None:
    """Print how many networks there are to choose from: by precision alone, with two in one layer, and with widths.

    Widths are counted in steps of `MULTIPLE` channels; the differentiable search measures which multiple this target
    is fast at and takes that one, so its own number may differ.

    Args:
        space: of the network after the default passes.
        groups: of it as traced.
        reporter: prints.
        split: the space with what `with_split_layers` adds.
    """
    counts = [len(found) for found in candidates(groups, MULTIPLE, {}).values()]
    width_log10 = sum(log10(count) for count in counts)
    joint = "no channels that could be removed"
    if width_log10:
        least, most = min(counts), max(counts)
        each = f"{least} to {most} widths each" if least < most else f"{most} widths each"
        joint = (
            f"about 10^{split.size_log10 + width_log10:.0f} with widths: {len(counts)} "
            f"group{'s' if len(counts) > 1 else ''} of channels, {each} in multiples of {MULTIPLE} "
            "(an estimate: a search takes the multiple that is fast there)"
        )
    before = {site.name: len(site.candidates) for site in space.sites}
    layers = sum(len(site.candidates) > before[site.name] for site in split.sites)
    two = f"at most 10^{split.size_log10:.0f} with two in one layer, which {layers} could have; " if layers else ""
    reporter.stage("Space").done(
        f"10^{space.size_log10:.0f} assignments of precision to {len(space.free)} operators; {two}{joint}"
    )


def report_reach(
    workload: Workload, program: Program, space: SearchSpace, config: CompileConfig, reporter: Reporter
) -> None:
    """Print the smallest, default and largest latency within reach: measured, if here."""
    target = load(config.target)
    threads = config.threads or target.hardware.cores
    stages = Stages(cache_root())
    prepared = prepare_for_search(workload, program, target, config, stages, reporter)
    context = Context(
        prepared=prepared, workload=workload, config=config, stages=stages, reporter=reporter, threads=threads
    )
    with make_bench(context) as bench:
        table = bench.cost_table()
    nothing = Sensitivity(weights={}, tensors={})
    fastest = solve(table, nothing)
    slowest = max(table.predict_us(space.everywhere(scheme)) for scheme in (*NARROW, "weight8", "weight4"))
    default = table.predict_us({})
    smallest = table.predict_us(fastest) if fastest is not None else default
    reporter.stage("Reach").done(
        f"smallest {smallest / 1e3:.3f} ms, float (default) {default / 1e3:.3f} ms, largest "
        f"{max(slowest, default) / 1e3:.3f} ms, with all channels; {table.provenance}, {trust(table)}"
    )
