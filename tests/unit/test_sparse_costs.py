"""Sparse layers in the joint table: what they take is found at all widths, and they are candidates where they pay."""

from collections.abc import Mapping

import pytest
import torch
from joint_tables import TrueTables, fitted
from torch import Tensor, nn

from hwcomp.compaction import compact
from hwcomp.cost import CostTable
from hwcomp.entries import Profile
from hwcomp.groups import Groups, width_groups
from hwcomp.joint_cost import JointTable
from hwcomp.program import Program
from hwcomp.scheme import is_sparse
from hwcomp.search.controls import fastest_alone, homogeneous, precision_alone
from hwcomp.search.joint_projection import Preference
from hwcomp.search.knapsack import Sensitivity
from hwcomp.space import Edge, SearchSpace, Site
from hwcomp.sparse_costs import SparseCost, sparse_timings, timed_sparse, with_sparse
from hwcomp.sparsity import network_with_zeros
from hwcomp.target import Target, load
from hwcomp.tracing import trace
from hwcomp.width_law import Polynomial
from hwcomp.width_timing import KnownTimer, Timer, within

SPARSE = tuple(f"sparse4x1:{density}" for density in (0.3, 0.2, 0.1))


class Block(nn.Module):
    """A residual block with a depthwise convolution, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.up, self.depth = nn.Conv2d(32, 48, 3, padding=1), nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.down, self.fc = nn.Conv2d(48, 32, 3, padding=1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.down(torch.relu(self.depth(self.up(x))))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def core() -> Target:
    return load("x86_64")


@pytest.fixture(scope="module")
def traced() -> tuple[Program, Groups]:
    program = trace(Block().eval(), (torch.zeros(1, 3, 8, 8),))
    return program, width_groups(program)


@pytest.fixture(scope="module")
def joint(traced: tuple[Program, Groups], core: Target) -> JointTable:
    tables, told = TrueTables(core), list[int]()
    dense = fitted(traced, tables)

    def timer_of(assignment: Mapping[str, str]) -> Timer:
        timer = KnownTimer(tables=tables, assignment=assignment)

        def slow(network: Program) -> tuple[Profile, float]:  # at another time than the table
            profile, latency_us = timer(network)
            return profile, 2 * latency_us

        return slow

    costs = timed_sparse(*traced, dense.table.space, 0, timer_of, lambda: told.append(1))
    assert len(told) == sparse_timings(traced[1])
    return with_sparse(dense, costs)


def test_layers_with_a_kernel_are_offered_every_density(joint: JointTable) -> None:
    sparse = {s.name: tuple(c for c in s.candidates if is_sparse(c)) for s in joint.table.space.sites}
    assert {name: own for name, own in sparse.items() if own} == dict.fromkeys(("stem", "up", "down"), SPARSE)
    assert JointTable.of_json(joint.as_json()) == joint


@pytest.mark.parametrize("width", [1.0, 0.75, 0.5, 0.25])
@pytest.mark.parametrize("choice", SPARSE)
def test_the_latency_of_sparse_layers_falls_with_the_widths(
    traced: tuple[Program, Groups], joint: JointTable, core: Target, choice: str, width: float
) -> None:
    """As it does of a network that is made narrow and sparse."""
    assignment = {"stem": "float", "up": choice, "down": choice, "depth": "int8"}
    widths = {group.name: int(width * group.channels) for group in traced[1].groups}
    narrow = compact(*traced, {group: range(count) for group, count in widths.items()})
    true_us = KnownTimer(tables=TrueTables(core), assignment=assignment)(network_with_zeros(narrow, assignment))[1]
    assert joint.predict_us(assignment, widths) == pytest.approx(true_us, rel=0.02)
    dense = {**assignment, "up": "float", "down": "float"}
    assert joint.predict_us(assignment, widths) < joint.predict_us(dense, widths)


def test_only_what_is_faster_than_all_that_keep_more_is_offered() -> None:
    space = SearchSpace(sites=(Site(name="a", op="conv2d", candidates=("float", "int8")),), edges=())
    table = fitted_constant(space, {"a": {"float": 10.0, "int8": 3.0}})
    ratios = {"sparse4x1:0.3": 1.1, "sparse4x1:0.2": 0.6, "sparse4x1:0.1": 0.6, "sparse4x1:0.05": 0.5}
    law = Polynomial(constant=1.0, linear={"g": 1.0})
    costs = [SparseCost(choice=choice, ratio=ratio, law=law) for choice, ratio in ratios.items()]
    joint = with_sparse(table, {"a": costs})
    (site,) = joint.table.space.sites
    assert site.candidates == ("float", "int8", "sparse4x1:0.2", "sparse4x1:0.05")
    assert joint.predict_us({"a": "sparse4x1:0.2"}, {}) == pytest.approx(6.0)
    assert joint.predict_us({"a": "sparse4x1:0.2"}, {"g": 4}) == pytest.approx(6.0 * 5 / 9)
    assert joint.predict_us({"a": "int8"}, {}) == pytest.approx(3.0)


def fitted_constant(space: SearchSpace, times_us: Mapping[str, Mapping[str, float]]) -> JointTable:
    table = CostTable(space=space, site_us=times_us, quantize_us={}, dequantize_us={})
    laws = {site: {c: Polynomial(constant=us) for c, us in own.items()} for site, own in times_us.items()}
    return JointTable(table=table, channels={"g": 8}, site_laws=laws, quantize_laws={}, dequantize_laws={})


def test_a_target_without_sparse_kernels_offers_none(traced: tuple[Program, Groups], core: Target) -> None:
    tables = TrueTables(core.model_copy(update={"sparse": ()}))
    dense = fitted(traced, tables)
    costs = timed_sparse(
        *traced, dense.table.space, 0, lambda assignment: KnownTimer(tables=tables, assignment=assignment)
    )
    assert costs == {}
    assert with_sparse(dense, costs) == dense


def test_controls_are_dense(joint: JointTable) -> None:
    """What nobody searched for would be fastest where nearly nothing is computed."""
    preference = Preference(
        schemes={s.name: dict.fromkeys(s.candidates, 0.1) for s in joint.table.space.free},
        widths={group: {width // 2: 0.5, width: 0.5} for group, width in joint.channels.items()},
    )
    limit_us = joint.predict_us({}, {})
    nothing = Sensitivity(weights={}, tensors={})
    for one in (
        homogeneous(joint, preference, limit_us),
        precision_alone(joint, nothing, limit_us),
        fastest_alone(joint),
    ):
        assert one is not None
        assert not any(map(is_sparse, one.assignment.values()))


def test_a_sparse_scheme_means_the_one_that_zeros_are_of() -> None:
    """The share of zeros in a layer is not exactly what was asked for."""
    space = SearchSpace(
        sites=(
            Site(name="a", op="conv2d", candidates=("float", "int8", "sparse4x1:0.11")),
            Site(name="b", op="conv2d", candidates=("float", "int8")),
        ),
        edges=(Edge(tensor="a", elements=1, readers=("b",)),),
    )
    wanted = {"a": "sparse4x1:0.1", "b": "sparse4x1:0.1", "gone": "sparse4x1:0.1"}
    assert within(space, wanted) == {"a": "sparse4x1:0.11", "b": "float"}
    assert within(space, {"a": "weight8", "b": "int8"}) == {"a": "float", "b": "int8"}
