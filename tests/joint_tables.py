"""Devices whose latencies are known, and joint tables that are fitted to them."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import torch

from hwcomp.analysis import facts_of
from hwcomp.cost import CostTable
from hwcomp.default_passes import default_passes
from hwcomp.groups import Groups
from hwcomp.joint_cost import JointTable
from hwcomp.joint_timing import joint_table
from hwcomp.kernel import Kernel, Kernels
from hwcomp.kernels import kernels_of, search_space
from hwcomp.known_tables import Known
from hwcomp.program import Program, run_passes
from hwcomp.scheme import INT8, reads_integers, writes_integers
from hwcomp.search.joint_projection import Configuration, Preference
from hwcomp.space import Edge, SearchSpace, Site
from hwcomp.target import Target
from hwcomp.width_law import Polynomial
from hwcomp.width_timing import KnownTimer, Timer


def kernel_us(kernel: Kernel, fond_of: int) -> float:
    """What a device takes that is fond of some channel counts in integers."""
    facts, inputs = facts_of(kernel), torch.Size(kernel.inputs[0]).numel()
    in_float = 2.0 + 0.005 * inputs + 0.01 * facts.outputs + 1e-3 * facts.macs
    if not reads_integers(kernel.scheme):
        return in_float * (0.9 if kernel.scheme != "float" else 1.0)
    slow = 1.5 if any(shape[1] % fond_of for shape in kernel.inputs if shape[1] > 3) else 1.0
    in_integers = 1.0 + 0.002 * inputs + 0.004 * facts.outputs + 3e-4 * facts.macs
    return slow * in_integers * (1.2 if kernel.scheme != INT8.name else 1.0)


class TrueTables:
    """Tells what the device takes, for every network."""

    def __init__(self, target: Target, fond_of: int = 1) -> None:
        self.target, self.fond_of = target, fond_of

    def best(self, space: SearchSpace, kernels: Kernels, _network: str) -> Known:
        def converted(start: float, each: float) -> dict[str, float]:
            return {e.tensor: start + each * kernels.tensors[e.tensor]["quantize"].elements for e in space.edges}

        table = CostTable(
            space=space,
            site_us={
                site: {scheme: kernel_us(kernel, self.fond_of) for scheme, kernel in candidates.items()}
                for site, candidates in kernels.sites.items()
            },
            quantize_us=converted(1.5, 0.002),
            dequantize_us=converted(0.5, 0.004),
            correction=1.25,
        )
        return Known(table=table, source="", threads=1)


def full_table(program: Program, tables: Any) -> CostTable:
    network = run_passes(program, default_passes(tables.target))
    return tables.best(search_space(network), kernels_of(network, tables.target.activation), "").table


def timers_of(table: CostTable, tables: Any) -> list[Timer]:
    return [KnownTimer(tables=tables, assignment=a) for a in ({}, table.space.everywhere(INT8.name))]


def fitted(traced: tuple[Program, Groups], tables: Any) -> JointTable:
    table = full_table(traced[0], tables)
    return joint_table(*traced, table, timers_of(table, tables), seed=0)


WIDTHS = {"g": (2, 4, 8), "h": (3, 6), "k": (2, 4)}
FIXED = {"fixed": 5}
"""A group whose width is not searched."""

SPACE = SearchSpace(
    sites=(
        Site(name="a", op="conv2d", candidates=("float", "int8")),
        Site(name="b", op="conv2d", candidates=("float", "int8", "int8_float_output")),
        Site(name="c", op="add", candidates=("float", "int8")),
        Site(name="d", op="conv2d", candidates=("float", "int8")),
        Site(name="e", op="softmax"),
    ),
    edges=(
        Edge(tensor="x", elements=10, readers=("a",)),
        Edge(tensor="a", elements=20, readers=("b", "c")),
        Edge(tensor="b", elements=30, readers=("c",)),
        Edge(tensor="c", elements=40, readers=("d",)),
        Edge(tensor="d", elements=40, readers=("e",)),
    ),
)


def random_joint(seed: int) -> JointTable:
    """A residual block of random laws, where integers are two to four times as fast."""
    generator, channels = random.Random(seed), {group: widths[-1] for group, widths in WIDTHS.items()} | FIXED

    def law(scale: float) -> Polynomial:
        g, h = sorted(generator.choices(list(channels), k=2))
        linear = {name: scale * generator.random() for name in channels}
        pairs = {(g, h): 0.2 * scale * generator.random()}
        return Polynomial(constant=scale * generator.random(), linear=linear, pairs=pairs)

    faster = {"float": 1.0, "int8": generator.uniform(0.25, 0.5), "int8_float_output": generator.uniform(0.3, 0.6)}
    in_float = {site.name: law(1.0) for site in SPACE.sites}
    laws = {site.name: {c: in_float[site.name].scaled(faster[c]) for c in site.candidates} for site in SPACE.sites}
    quantize, dequantize = ({edge.tensor: law(0.05) for edge in SPACE.edges} for _ in range(2))
    table = CostTable(
        space=SPACE,
        site_us={site: {c: one(channels) for c, one in own.items()} for site, own in laws.items()},
        quantize_us={tensor: one(channels) for tensor, one in quantize.items()},
        dequantize_us={tensor: one(channels) for tensor, one in dequantize.items()},
        correction=1.3,
    )
    return JointTable(
        table=table, channels=channels, site_laws=laws, quantize_laws=quantize, dequantize_laws=dequantize, multiple=2
    )


def random_likings(seed: int, sharpness: float = 1.5) -> Preference:
    """Probabilities of every candidate, as a search that is nearly done would leave them."""
    generator = torch.Generator().manual_seed(seed)

    def some(count: int) -> list[float]:
        return (sharpness * torch.randn(count, generator=generator, dtype=torch.float64)).softmax(0).tolist()

    return Preference(
        schemes={s.name: dict(zip(s.candidates, some(len(s.candidates)), strict=True)) for s in SPACE.free},
        widths={group: dict(zip(widths, some(len(widths)), strict=True)) for group, widths in WIDTHS.items()},
    )


def configurations(joint: JointTable, preference: Preference) -> Iterator[Configuration]:
    """Everything that may be chosen, but for what the runtime computes otherwise."""
    sizes = [dict(zip(preference.widths, one, strict=True)) for one in itertools.product(*preference.widths.values())]
    for choice in itertools.product(*preference.schemes.values()):
        assignment = joint.table.space.complete(dict(zip(preference.schemes, choice, strict=True)))
        if any(_is_between_integers(joint.table.space, name, assignment) for name in preference.schemes):
            continue
        law = joint.law(assignment)
        for one in sizes:
            widths = {**joint.channels, **one}
            yield Configuration(assignment=assignment, widths=widths, predicted_us=law(widths))


def _is_between_integers(space: SearchSpace, name: str, assignment: dict[str, str]) -> bool:
    """Whether a site is float, reads only what is made as integers, and what it makes is read as integers."""
    sources = [edge for edge in space.edges if name in edge.readers]
    readers = [reader for edge in space.edges if edge.tensor == name for reader in edge.readers]
    made = all(writes_integers(assignment.get(edge.tensor, "float")) for edge in sources)
    return assignment[name] == "float" and made and any(reads_integers(assignment[reader]) for reader in readers)
