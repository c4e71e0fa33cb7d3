"""How a network is measured: in which order, which round counts, and what becomes of it when a device is lost."""

import random
from typing import Any

import pytest

from hwcomp.design import CONTROL, designed_assignments, random_assignments
from hwcomp.devices.facts import DeviceFacts
from hwcomp.errors import DeviceLost
from hwcomp.profiling import (
    KERNEL_ROUNDS,
    MAX_RUN_ROUNDS,
    NOTHING_US,
    RUN_ROUNDS,
    TOGETHER,
    kernel_steps,
    profile_kernels,
    time_runs,
)
from hwcomp.space import conversion


def ignore(sentence: str) -> None:
    """Hear news of no interest."""


def profiled(device: Any) -> list[dict[str, str]]:
    return [assignment for verb, assignment in device.asked if verb == "profile"]


@pytest.fixture
def some(chain_subject: Any) -> list[dict[str, str]]:
    """Return five random assignments that are not all float."""
    space = chain_subject.space
    drawn = random_assignments(space, 40, random.Random(0))
    return [assignment for assignment in drawn if assignment != space.everywhere()][:5]


def test_rounds_are_interleaved_and_every_other_one_is_reversed(
    known_device: Any, chain_subject: Any, chain_truth: Any
) -> None:
    device = known_device(chain_truth)
    steps: list[int] = []
    profile_kernels(chain_subject, [device], 1, ignore, lambda: steps.append(1))
    designed = list(designed_assignments(chain_subject.space).values())
    assert profiled(device) == [*designed, *designed[::-1], *designed]
    assert len(steps) == kernel_steps(chain_subject, device) == KERNEL_ROUNDS * len(designed)
    assert device.asked[0] == ("time", designed[0])


def test_rows_are_what_the_device_takes(known_device: Any, chain_subject: Any, chain_truth: Any) -> None:
    """Of every kernel and conversion that can be; what a last dequantisation takes is counted with its operator."""
    rows = profile_kernels(chain_subject, [known_device(chain_truth)], 1, ignore)
    found = {row.kernel: row for row in rows}
    tensors = chain_subject.kernels.tensors
    never = {tensors["x"]["dequantize"].key, tensors["s5"]["quantize"].key}
    assert set(found) == chain_subject.kernels.keys - never
    for site, candidates in chain_subject.kernels.sites.items():
        for choice, kernel in candidates.items():
            output_us = chain_truth.dequantize_us[site] if (site, choice) == ("s5", "int8") else 0.0
            assert found[kernel.key].median_us == pytest.approx(chain_truth.site_us[site][choice] + output_us)
    for edge in chain_subject.space.edges[:-1]:
        assert found[tensors[edge.tensor]["quantize"].key].median_us == pytest.approx(
            chain_truth.quantize_us[edge.tensor]
        )
    assert {(row.method, row.runs, row.provenance, row.error) for row in rows} == {
        ("network", KERNEL_ROUNDS, "measured", 0.0)
    }
    assert all(row.p10_us == row.median_us == row.p90_us for row in rows)


def test_the_fastest_round_counts_and_the_spread_is_kept(
    known_device: Any, chain_subject: Any, chain_truth: Any
) -> None:
    """Whatever disturbs a round makes it slower; a different assignment may be disturbed in each."""
    count = len(designed_assignments(chain_subject.space))

    def slowness(verb: str, calls: int, assignment: object) -> float:
        index, number = divmod(calls, count)
        return 1.0 if verb != "profile" or index == number % KERNEL_ROUNDS else 1.5

    device = known_device(chain_truth, slowness=slowness)
    found = {row.kernel: row for row in profile_kernels(chain_subject, [device], 1, ignore)}
    for site, candidates in chain_subject.kernels.sites.items():
        for choice, kernel in candidates.items():
            if (site, choice) != ("s5", "int8"):
                row, true_us = found[kernel.key], chain_truth.site_us[site][choice]
                assert row.median_us == pytest.approx(true_us)
                assert 1.3 * true_us < row.p90_us <= 1.5 * true_us + 1e-9


def test_a_kernel_that_takes_nothing_has_a_valid_row(known_device: Any, chain_subject: Any, chain_truth: Any) -> None:
    chain_truth.site_us["s2"]["float"] = 0.0
    found = {row.kernel: row for row in profile_kernels(chain_subject, [known_device(chain_truth)], 1, ignore)}
    assert found[chain_subject.kernels.sites["s2"]["float"].key].median_us == NOTHING_US


def test_a_device_that_counts_is_asked_once(
    known_device: Any, chain_subject: Any, chain_truth: Any, some: list[dict[str, str]]
) -> None:
    """Repeating it tells nothing, and emulation takes long."""
    device = known_device(chain_truth, provenance="simulated")
    rows = profile_kernels(chain_subject, [device], 1, ignore)
    assert profiled(device) == list(designed_assignments(chain_subject.space).values())
    assert kernel_steps(chain_subject, device) == len(profiled(device))
    assert {(row.provenance, row.runs) for row in rows} == {("simulated", 1)}
    device.asked.clear()
    (timed,) = time_runs(chain_subject, [device], some[:2], 1, ignore)
    assert len(device.asked) == 3
    assert {row.provenance for row in timed} == {"simulated"}


def test_runs_are_timed_in_groups_beside_a_control(
    known_device: Any, chain_subject: Any, chain_truth: Any, some: list[dict[str, str]]
) -> None:
    device, steps = known_device(chain_truth), []
    rows = [
        row for rows in time_runs(chain_subject, [device], some, 1, ignore, lambda: steps.append(1)) for row in rows
    ]
    floats = chain_subject.space.everywhere()
    first, second = [floats, *some[:TOGETHER]], [floats, *some[TOGETHER:]]
    assert RUN_ROUNDS == 2
    assert [assignment for _, assignment in device.asked] == [*first, *first[::-1], *second, *second[::-1]]
    assert [row.assignment for row in rows] == some
    for row in rows:
        assert row.median_us == pytest.approx(chain_truth.predict_us(row.assignment))
        assert row.control_us == pytest.approx(chain_truth.predict_us({}))
        assert row.network == chain_subject.network
        assert row.runs == 5 * RUN_ROUNDS
    assert len(steps) == len(some)


def test_a_machine_that_slows_down_between_rounds_changes_no_ratio(
    known_device: Any, chain_subject: Any, chain_truth: Any, some: list[dict[str, str]]
) -> None:
    """Each round has its own control; no round is added, because the ratios agree."""
    device = known_device(chain_truth, slowness=lambda _verb, calls, _assignment: 1.0 if calls < 4 else 1.8)
    (rows,) = time_runs(chain_subject, [device], some[:TOGETHER], 1, ignore)
    assert len(device.asked) == 2 * 4
    for row in rows:
        true = chain_truth.predict_us(row.assignment) / chain_truth.predict_us({})
        assert row.median_us / row.control_us == pytest.approx(true)
        assert row.p10_us <= row.median_us <= row.p90_us


def test_the_ratio_within_rounds_is_the_claim(
    known_device: Any, chain_subject: Any, chain_truth: Any, some: list[dict[str, str]]
) -> None:
    """Over all rounds the control was slowed twice, and the assignment once."""
    device = known_device(chain_truth, slowness=lambda _verb, calls, _assignment: 2.0 if calls in (0, 4, 5) else 1.0)
    (rows,) = time_runs(chain_subject, [device], some[:1], 1, ignore)
    assert len(device.asked) == 2 * 4
    true = chain_truth.predict_us(some[0]) / chain_truth.predict_us({})
    assert rows[0].median_us / rows[0].control_us == pytest.approx(true)


def rounds_of(device: Any) -> int:
    controls = [assignment for _, assignment in device.asked if set(assignment.values()) == {"float"}]
    return len(controls)


def test_rounds_are_added_until_ratios_are_steady(
    known_device: Any, chain_subject: Any, chain_truth: Any, some: list[dict[str, str]]
) -> None:
    """One disturbed block is outvoted, and does not count."""
    device = known_device(chain_truth, slowness=lambda _verb, calls, _assignment: 1.6 if calls == 1 else 1.0)
    (rows,) = time_runs(chain_subject, [device], some[:1], 1, ignore)
    assert RUN_ROUNDS < rounds_of(device) < MAX_RUN_ROUNDS
    true = chain_truth.predict_us(some[0]) / chain_truth.predict_us({})
    assert rows[0].median_us / rows[0].control_us == pytest.approx(true)


def test_rounds_end_where_ratios_never_become_steady(
    known_device: Any, chain_subject: Any, chain_truth: Any, some: list[dict[str, str]]
) -> None:
    device = known_device(chain_truth, slowness=lambda _verb, calls, _assignment: 1.0 + calls**2)
    (rows,) = time_runs(chain_subject, [device], some[:1], 1, ignore)
    assert rounds_of(device) == MAX_RUN_ROUNDS
    assert rows[0].runs == 5 * MAX_RUN_ROUNDS


def pair(known_device: Any, truth: Any, *, dies_first: bool, alive: int) -> tuple[list[Any], Any]:
    """Return two devices, and the one of them that dies; the other one takes its time over its first task till then."""
    dying, other = known_device(truth, name="dying", alive=alive), known_device(truth, name="other")
    devices = [dying, other] if dies_first else [other, dying]

    def slowness(_verb: str, _calls: int, _assignment: object) -> float:
        assert len(other.asked) == 1 or dying.lost.wait(timeout=30)
        return 1.0

    other.slowness = slowness
    return devices, dying


@pytest.mark.parametrize("dies_first", [True, False])
def test_a_device_lost_in_the_middle_leaves_its_share_to_the_other(
    known_device: Any, chain_subject: Any, chain_truth: Any, dies_first: bool
) -> None:
    devices, dying = pair(known_device, chain_truth, dies_first=dies_first, alive=3)
    said: list[str] = []
    rows = profile_kernels(chain_subject, devices, 1, said.append)
    alone = profile_kernels(chain_subject, [known_device(chain_truth)], 1, ignore)
    assert {row.kernel: row.median_us for row in rows} == {row.kernel: row.median_us for row in alone}
    assert len(said) == 1
    assert "'dying' is gone." in said[0]
    assert len(dying.asked) == 3


def test_runs_go_on_with_the_device_that_is_left(
    known_device: Any, chain_subject: Any, chain_truth: Any, some: list[dict[str, str]]
) -> None:
    devices, _ = pair(known_device, chain_truth, dies_first=True, alive=2)
    said: list[str] = []
    rows = [row for rows in time_runs(chain_subject, devices, some, 1, said.append) for row in rows]
    assert sorted(str(row.assignment) for row in rows) == sorted(map(str, some))
    assert len(said) == 1


def test_what_was_timed_before_the_last_device_was_lost_is_kept(
    known_device: Any, chain_subject: Any, chain_truth: Any, some: list[dict[str, str]]
) -> None:
    device = known_device(chain_truth, alive=2 * (TOGETHER + 1))
    timed = time_runs(chain_subject, [device], some, 1, ignore)
    assert [row.assignment for row in next(timed)] == some[:TOGETHER]
    with pytest.raises(DeviceLost, match="is gone"):
        next(timed)


def test_the_truth_of_these_tests_has_all_conversions(chain_subject: Any, known_device: Any) -> None:
    """Otherwise the tests above would prove less than they say."""
    designed = designed_assignments(chain_subject.space)
    assert next(iter(designed)) == CONTROL
    seen = {conversion(edge, a) for a in designed.values() for edge in chain_subject.space.edges}
    assert seen == {"quantize", "dequantize", None}
    assert isinstance(known_device.known_facts, DeviceFacts)
