"""The table of widths of a compilation: kept, and made on a device that is let go of."""

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from hwcomp import width_stage
from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.cost import CostTable
from hwcomp.groups import width_groups
from hwcomp.job import Job
from hwcomp.stages import Stages
from hwcomp.target import load
from hwcomp.tracing import trace
from hwcomp.width_law import Polynomial
from hwcomp.width_stage import timed_widths
from hwcomp.width_timing import WidthTable
from hwcomp.workload import Workload

TABLE = WidthTable(law=Polynomial(constant=1.0, linear={"_0": 2.0}), multiple=4, error=0.1, networks=3)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    workload = Workload(name="w", model=model.eval(), example_inputs=(torch.zeros(1, 3, 8, 8),))
    network = trace(workload.model, workload.example_inputs)
    return Job(
        workload=workload, network=network, original=network, target=load("arm"), config=CompileConfig(target="arm"),
        stages=Stages(tmp_path), reporter=Reporter(Console(quiet=True)),
    )  # fmt: skip


@pytest.fixture
def device(known_device: Any, chain_truth: CostTable, monkeypatch: pytest.MonkeyPatch) -> Any:
    class Watched(known_device):  # type: ignore[misc]
        closed = 0

        def close(self) -> None:
            self.closed += 1

    one = Watched(chain_truth)
    monkeypatch.setattr(width_stage, "device_for", lambda *_: one)
    return one


def test_the_table_is_made_once_and_the_device_let_go_of(
    job: Job, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def width_table(*_: object) -> WidthTable:
        made.append(device.closed)
        return TABLE

    monkeypatch.setattr(width_stage, "width_table", width_table)
    groups = width_groups(job.network)
    assert timed_widths(job, groups, {}) == TABLE
    assert device.closed == 1
    assert timed_widths(job, groups, {}) == TABLE
    assert made == [0]
    assert device.closed == 2
    timed_widths(job, groups, {"_0": "int8"})
    assert made == [0, 2]


def test_a_device_is_let_go_of_when_timing_fails(job: Job, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> WidthTable:
        raise ValueError

    monkeypatch.setattr(width_stage, "width_table", fails)
    with pytest.raises(ValueError):  # noqa: PT011
        timed_widths(job, width_groups(job.network), {})
    assert device.closed == 1
