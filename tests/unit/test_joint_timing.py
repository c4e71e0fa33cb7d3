"""The joint table is fitted to timed networks: known laws are found again, and an estimate of a real core is met."""

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from joint_tables import TrueTables, fitted, full_table, timers_of
from torch import Tensor, nn

from hwcomp.compaction import compact
from hwcomp.design import random_assignments
from hwcomp.entries import Profile
from hwcomp.groups import Groups, width_groups
from hwcomp.joint_cost import JointTable
from hwcomp.joint_timing import joint_table, joint_timings
from hwcomp.known_tables import KnownTables
from hwcomp.program import Program
from hwcomp.store import Store
from hwcomp.target import Target, load
from hwcomp.tracing import trace
from hwcomp.width_designs import candidates
from hwcomp.width_timing import KnownTimer, Timer
from hwcomp.workload import load_workload

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10" / "model.py"


class Block(nn.Module):
    """A residual block with a depthwise convolution, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.up, self.depth = nn.Conv2d(32, 48, 1), nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.down, self.fc = nn.Conv2d(48, 32, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.down(torch.relu(self.depth(self.up(x))))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def arm() -> Target:
    return load("arm")


@pytest.fixture(scope="module")
def traced() -> tuple[Program, Groups]:
    program = trace(Block().eval(), (torch.zeros(1, 3, 8, 8),))
    return program, width_groups(program)


def draws(joint: JointTable, groups: Groups, count: int) -> list[tuple[dict[str, str], dict[str, int]]]:
    """Return random assignments, each with random widths that a search may choose."""
    generator = random.Random(1)
    allowed = candidates(groups, joint.multiple, joint.channels)
    return [
        (assignment, {group: generator.choice(widths) for group, widths in allowed.items()})
        for assignment in random_assignments(joint.table.space, count, generator)
    ]


def true_us(traced: tuple[Program, Groups], tables: Any, assignment: Mapping[str, str], widths: Any) -> float:
    """Return what the timer says of a network that is really made smaller."""
    smaller = compact(*traced, {group: range(width) for group, width in widths.items()})
    return KnownTimer(tables=tables, assignment=assignment)(smaller)[1]


def test_known_laws_are_found_again(traced: tuple[Program, Groups], arm: Target) -> None:
    """Of all schemes, also of those that were not timed, and of conversions."""
    tables, told = TrueTables(arm), list[int]()
    table = full_table(traced[0], tables)
    joint = joint_table(*traced, table, timers_of(table, tables), 0, lambda: told.append(1))
    assert joint.networks == joint_timings(traced[1]) == len(told)
    assert joint.error < 1e-6
    assert joint.multiple == 1
    for assignment, widths in draws(joint, traced[1], 20):
        predicted_us = joint.predict_us(assignment, widths)
        assert predicted_us == pytest.approx(true_us(traced, tables, assignment, widths), rel=1e-6)


def test_the_multiple_is_the_one_that_integers_are_fond_of(traced: tuple[Program, Groups], arm: Target) -> None:
    assert fitted(traced, TrueTables(arm, fond_of=8)).multiple == 8


def test_a_slow_profiler_changes_nothing(traced: tuple[Program, Groups], arm: Target) -> None:
    """The latency of the whole is measured without it."""
    tables, generator = TrueTables(arm), random.Random(0)

    def slowed(timer: Timer) -> Timer:
        def time(network: Program) -> tuple[Profile, float]:
            profile, latency_us = timer(network)
            factor = generator.uniform(1, 3)
            site_us = {site: factor * us for site, us in profile.site_us.items()}
            tensor_us = {tensor: factor * us for tensor, us in profile.tensor_us.items()}
            return replace(profile, site_us=site_us, tensor_us=tensor_us), latency_us

        return time

    table = full_table(traced[0], tables)
    joint = joint_table(*traced, table, [slowed(timer) for timer in timers_of(table, tables)], seed=0)
    assert joint.error < 1e-6


def test_a_change_of_layout_counts_to_the_site_before_it(traced: tuple[Program, Groups], arm: Target) -> None:
    """A runtime that books nearly all of an addition's time to the layout of what it gives."""
    tables = TrueTables(arm)

    def booked(timer: Timer) -> Timer:
        def time(network: Program) -> tuple[Profile, float]:
            profile, latency_us = timer(network)
            layout_us = profile.site_us["add"] - 0.5
            site_us = {**profile.site_us, "add": 0.5}
            return replace(profile, site_us=site_us, tensor_us={**profile.tensor_us, "add": layout_us}), latency_us

        return time

    table = full_table(traced[0], tables)
    joint = joint_table(*traced, table, [booked(timer) for timer in timers_of(table, tables)], seed=0)
    assert joint.error < 1e-6


def test_the_anchor_is_the_table(traced: tuple[Program, Groups], arm: Target) -> None:
    """A table of a machine that is twice as fast as when widths were timed, with entries that its timers never saw."""
    tables = TrueTables(arm)
    table = full_table(traced[0], tables)
    halved = {site: {c: us / 2 for c, us in times.items()} for site, times in table.site_us.items()}
    other = replace(table, site_us=halved)
    joint = joint_table(*traced, other, timers_of(table, tables), seed=0)
    assert joint.predict_us({}, {}) == pytest.approx(other.predict_us({}))
    widths = {group: width // 2 for group, width in joint.channels.items()}
    assert joint.predict_us({}, widths) == pytest.approx(true_us(traced, tables, {}, widths) / 2)


def test_an_estimated_core_is_met_within_a_tenth(arm: Target, tmp_path: Path) -> None:
    """ResNet-20 on a Cortex-A72, whose kernels were counted or are predicted by a model that knows nothing of laws."""
    workload = load_workload(f"{EXAMPLE}:resnet20_scratch")
    program = trace(workload.model, workload.example_inputs)
    tables = KnownTables(target=arm, store=Store(tmp_path / "latency.sqlite"), threads=None)
    network = program, width_groups(program)
    joint = fitted(network, tables)
    assert joint.error < 0.05
    for assignment, widths in draws(joint, network[1], 10):
        predicted_us = joint.predict_us(assignment, widths)
        assert predicted_us == pytest.approx(true_us(network, tables, assignment, widths), rel=0.1)
