"""Layers whose filters have two precisions: what they mean, what they cost, and that a supernet computes the same."""

import itertools

import numpy as np
import pytest
import torch
from networks import alive
from torch import Tensor, nn

from hwcomp import target
from hwcomp.calibration import activation_ranges, observe
from hwcomp.cost import CostTable
from hwcomp.default_passes import training_passes
from hwcomp.entries import Profile
from hwcomp.errors import InputError
from hwcomp.filter_splits import built, filter_ranks, filters_of
from hwcomp.groups import width_groups
from hwcomp.joint_cost import JointTable
from hwcomp.program import Program, run_passes
from hwcomp.scheme import reads_float, reads_integers, schemes_of, split_of, writes_integers
from hwcomp.search.knapsack import Sensitivity
from hwcomp.space import Edge, SearchSpace, Site, conversion
from hwcomp.split_costs import SplitCost, timed_splits, with_splits
from hwcomp.supernet import PrecisionSite, Widths, quantised, set_coefficients, sites_of, supernet
from hwcomp.tracing import trace
from hwcomp.width_law import Polynomial

TARGET = target.load("x86_64")
SPLIT = "float:0.25+int8"


class Net(nn.Module):
    """A residual block behind a stem, so that several layers share a group."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.inner, self.outer = nn.Conv2d(32, 8, 3, padding=1), nn.Conv2d(8, 32, 3, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.outer(torch.relu(self.inner(x))))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def traced() -> Program:
    return trace(alive(Net()), (torch.randn(4, 3, 8, 8),))


def scores_of(network: Program) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {g.name: torch.rand(g.channels, generator=generator) for g in width_groups(network).groups}


def test_two_schemes_in_one_name() -> None:
    split = split_of(SPLIT)
    assert split is not None
    assert (split.first, split.share, split.second, str(split)) == ("float", 0.25, "int8", SPLIT)
    assert split_of("int8") is split_of("w4a4") is None
    assert schemes_of(SPLIT) == ("float", "int8")
    assert schemes_of("weight4") == ("weight4",)


@pytest.mark.parametrize(
    ("choice", "integers", "floats", "writes"),
    [
        ("float", False, True, False),
        ("int8", True, False, True),
        ("int8_float_output", True, False, False),
        ("weight8:0.25+weight4", False, True, False),
        (SPLIT, True, True, True),
    ],
)
def test_a_split_layer_reads_what_its_parts_read(choice: str, integers: bool, floats: bool, writes: bool) -> None:
    assert (reads_integers(choice), reads_float(choice), writes_integers(choice)) == (integers, floats, writes)


def test_a_split_reader_needs_a_conversion_of_whatever_it_reads() -> None:
    edge = Edge(tensor="a", elements=1, readers=("b",))
    assert conversion(edge, {"a": "int8", "b": SPLIT}) == "dequantize"
    assert conversion(edge, {"a": "float", "b": SPLIT}) == "quantize"
    assert conversion(edge, {"a": SPLIT, "b": "int8"}) is None
    assert conversion(edge, {"a": SPLIT, "b": "float"}) == "dequantize"


def test_filters_are_channels_of_groups(traced: Program) -> None:
    filters = filters_of(traced, width_groups(traced))
    assert {name: own.group for name, own in filters.items()} == {"stem": "stem", "outer": "stem", "inner": "inner"}
    ranks = filter_ranks(filters, {"stem": torch.arange(32).flip(0), "inner": torch.arange(8)})
    assert ranks["outer"].tolist() == list(range(31, -1, -1))
    np.testing.assert_array_equal(filters["inner"].channels, np.arange(8))


def test_the_best_filters_come_first_in_a_network_that_computes_the_same(traced: Program) -> None:
    scores, groups = scores_of(traced), width_groups(traced)
    wanted = {"stem": SPLIT, "outer": "int8", "inner": SPLIT, "head": "float"}
    found = built(traced, groups, scores, wanted, 8)
    x = traced.example_inputs[0]
    torch.testing.assert_close(found.network.module(x), traced.module(x), rtol=1e-4, atol=1e-5)
    assert found.assignment == {
        "stem_part0": "float", "stem_part1": "int8", "stem_cat": "int8", "outer": "int8",
        "inner": "int8",  # eight filters are no two blocks of eight
        "head": "float",
    }  # fmt: skip
    best = scores["stem"].argsort(descending=True)[:8]
    weights = {
        name: module.weight for name, module in found.network.module.named_modules() if hasattr(module, "weight")
    }
    torch.testing.assert_close(weights["stem_part0"], traced.module.get_submodule("stem").weight[best])
    assert built(traced, groups, scores, {"stem": "int8"}, 8).network is traced


@pytest.mark.parametrize("mixing", ["weights", "outputs"])
def test_a_supernet_computes_what_the_network_in_parts_does(traced: Program, mixing: str) -> None:
    scores, groups = scores_of(traced), width_groups(traced)
    ranks = {name: score.argsort(descending=True).argsort() for name, score in scores.items()}
    folded = run_passes(traced, training_passes(TARGET))
    params = activation_ranges(folded, observe(folded, [traced.example_inputs]), "minmax", TARGET.activation)
    net = supernet(
        traced, TARGET, params,
        widths=Widths(groups=groups, choices={}, ranks=ranks),
        candidates={"stem": ("float", "int8", SPLIT), "outer": ("float", "int8", SPLIT)},
        filter_ranks=filter_ranks(filters_of(traced, groups), ranks),
    )  # fmt: skip
    sites = sites_of(net.program.module)
    chosen = {"stem": SPLIT, "outer": SPLIT}
    hot = {
        name: torch.tensor([float(c == chosen.get(name, "float")) for c in site.candidates])
        for name, site in sites.items()
        if isinstance(site, PrecisionSite)
    }
    set_coefficients(net.program.module, hot, mixing)
    parts = built(traced, groups, scores, chosen, 8)
    joined = run_passes(parts.network, training_passes(TARGET))
    seen = observe(joined, [traced.example_inputs])
    fixed = quantised(joined, parts.assignment, activation_ranges(joined, seen, "minmax", TARGET.activation))
    with torch.no_grad():
        x = traced.example_inputs[0]
        found, expected = net.program.module(x), fixed.module(x)
        set_coefficients(net.program.module, {**hot, "stem": torch.tensor([0.0, 1.0, 0.0])}, mixing)
        whole = net.program.module(x)
    assert (found - expected).norm() < 0.01 * expected.norm()
    assert (found - expected).norm() < (whole - expected).norm()


def test_coefficients_differ_from_filter_to_filter() -> None:
    layer = nn.Linear(4, 4, bias=False)
    site = PrecisionSite("fc", layer, ("float", "int8", "float:0.5+int8"), ranks=torch.tensor([3, 0, 2, 1]))
    site.coefficients = torch.tensor([0.25, 0.25, 0.5])
    rounded = site.round_weight(layer.weight, site.roundings[1])
    in_float = torch.tensor([0.25, 0.75, 0.25, 0.75])[:, None]
    expected = in_float * layer.weight + (1 - in_float) * rounded
    x = torch.randn(3, 4)
    for mixing in ("weights", "outputs"):
        site.mixing = mixing
        torch.testing.assert_close(site(x), x @ expected.T)


@pytest.mark.parametrize("candidates", [("float", SPLIT), ("float", "w4a4:0.25+w8a8")])
def test_two_schemes_need_ranks_and_no_simulation(candidates: tuple[str, ...]) -> None:
    ranks = torch.arange(4) if candidates[1] != SPLIT else None
    with pytest.raises(InputError, match="two schemes at once"):
        PrecisionSite("fc", nn.Linear(4, 4), candidates, ranks=ranks)


def joint_of(float_us: float, int8_us: float, quantize_us: float) -> JointTable:
    space = SearchSpace(
        sites=(Site(name="stem", op="conv2d", candidates=("float", "int8")),),
        edges=(Edge(tensor="x", elements=9, readers=("stem",)), Edge(tensor="stem", elements=9, readers=("output",))),
    )
    laws = {"float": Polynomial(linear={"stem": float_us / 32}), "int8": Polynomial(linear={"stem": int8_us / 32})}
    costs = {"x": quantize_us, "stem": quantize_us}
    changes = {tensor: Polynomial(constant=us) for tensor, us in costs.items()}
    return JointTable(
        table=CostTable(
            space=space, site_us={"stem": {"float": float_us, "int8": int8_us}}, quantize_us=costs, dequantize_us=costs
        ),
        channels={"stem": 32}, site_laws={"stem": laws}, quantize_laws=changes, dequantize_laws=changes, multiple=8,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ratio", "pays"),
    [(0.9, False), (1.5, True), (2.4, True), (2.6, False)],
    ids=["noise", "between", "for its format", "slower than float"],
)
def test_a_split_layer_is_a_candidate_where_it_pays(ratio: float, pays: bool) -> None:
    joint = with_splits(joint_of(20.0, 10.0, 5.0), {"stem": [SplitCost(choice=SPLIT, ratio=ratio)]})
    assert joint.table.space.sites[0].candidates == (("float", "int8", SPLIT) if pays else ("float", "int8"))
    if pays:
        half = {"stem": 16}
        assert joint.predict_us({"stem": SPLIT}, {}) == pytest.approx(10 * ratio + 5 + 5)
        assert joint.predict_us({"stem": SPLIT}, half) == pytest.approx(5 * ratio + 5 + 5)
        assert JointTable.of_json(joint.as_json()) == joint


def test_layers_are_timed_in_parts_and_whole(traced: Program) -> None:
    """A device where a part takes half of its layer, the concatenation 1, and every conversion 2 microseconds."""
    space = SearchSpace(
        sites=tuple(Site(name=name, op="conv2d", candidates=("float", "int8")) for name in ("stem", "inner", "outer")),
        edges=(),
    )
    seen: list[dict[str, str]] = []

    def timer_of(assignment: dict[str, str]):
        def timer(network: Program) -> tuple[Profile, float]:
            seen.append(assignment)
            site_us = {site: {"float": 20.0, "int8": 10.0}[scheme] for site, scheme in assignment.items()}
            site_us |= {name: us / 2 for name, us in site_us.items() if "_part" in name}
            site_us |= {name: 1.0 for name in site_us if name.endswith("_cat")}
            profile = Profile(
                name="", assignment=assignment, site_us=site_us, tensor_us={"stem_part0": 2.0, "outer_part0": 2.0}
            )
            return profile, 3 * profile.total_us  # the profiler's clock is not that of the whole

        return timer

    costs = timed_splits(traced, space, ["stem", "inner", "outer"], 0.25, 8, timer_of)
    assert costs.keys() == {"stem", "outer"}, "eight filters are too few"
    assert [(one.choice, pytest.approx(one.ratio)) for one in costs["stem"]] == [(SPLIT, (10 + 5 + 1 + 2) / 10)]
    assert seen[1]["outer_cat"] == seen[1]["inner"] == "int8"


def test_the_distance_of_two_schemes_is_a_share_of_each() -> None:
    known = Sensitivity(weights={"a": {"weight8": 0.1, "weight4": 0.9}}, tensors={})
    assert known.of_weight("a", "weight8:0.25+weight4") == pytest.approx(0.25 * 0.1 + 0.75 * 0.9)
    told = Sensitivity(weights={"a": {"weight4": 0.9, "weight8:0.25+weight4": 0.3}}, tensors={})
    assert told.of_weight("a", "weight8:0.25+weight4") == 0.3


def test_expectations_of_tables_know_split_layers() -> None:
    space = SearchSpace(
        sites=tuple(Site(name=name, op="conv2d", candidates=("float", "int8", SPLIT)) for name in "ab"),
        edges=(Edge(tensor="a", elements=1, readers=("b",)), Edge(tensor="b", elements=1, readers=("output",))),
    )
    times = {"float": 3.0, "int8": 1.0, SPLIT: 2.0}
    table = CostTable(
        space=space, site_us={"a": times, "b": times}, quantize_us={"a": 0.5, "b": 0.25},
        dequantize_us={"a": 0.75, "b": 0.125},
    )  # fmt: skip
    p = {name: torch.tensor([0.2, 0.3, 0.5]) for name in "ab"}
    mean = sum(
        float(p["a"][i] * p["b"][j]) * table.predict_us({"a": one, "b": other})
        for (i, one), (j, other) in itertools.product(enumerate(times), repeat=2)
    )
    assert float(table.expected_us(p)) == pytest.approx(mean)
