"""The table of a network on a device at hand: what is measured, what the store saves, what is said of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hwcomp.console import Reporter
from hwcomp.errors import DeviceLost
from hwcomp.latency_table import EXACT_RUNS, RUNS, Tabled, Tabulator
from hwcomp.space import SearchSpace, Site
from hwcomp.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "latency.sqlite")


def tabulator(subject: Any, devices: list[Any], store: Store, **changes: Any) -> Tabulator:
    stage = Reporter(Console(quiet=True)).stage("Table")
    options: dict[str, Any] = {"threads": 4, "float_us": None, "seed": 0, "stage": stage} | changes
    return Tabulator(subject=subject, devices=devices, store=store, **options)


def verbs(device: Any) -> set[str]:
    return {verb for verb, _ in device.asked}


def test_an_empty_store_is_filled(known_device: Any, chain_subject: Any, chain_truth: Any, store: Store) -> None:
    device = known_device(chain_truth)
    made = tabulator(chain_subject, [device], store)
    tabled = made.table()
    assert verbs(device) == {"time", "profile"}
    assert (tabled.known, tabled.learned) == (0, 0)
    assert tabled.measured == len(store.kernels(made.setting)) > 12
    assert len(store.runs(made.setting, chain_subject.network)) >= RUNS
    assert "measured now" in str(tabled)
    assert f"on {tabled.table.held_out} held-out assignments" in str(tabled)
    assert tabled.table.predict_us({}) == pytest.approx(chain_truth.predict_us({}), rel=0.02)
    assert tabled.table.error < 0.02
    (summary,) = store.settings()
    assert summary.observation is not None
    assert summary.observation.governor == "performance"


def test_nothing_is_measured_twice(known_device: Any, chain_subject: Any, chain_truth: Any, store: Store) -> None:
    first = tabulator(chain_subject, [known_device(chain_truth)], store).table()
    device = known_device(chain_truth)
    again = tabulator(chain_subject, [device], store, seed=5).table()
    assert device.asked == []
    assert (again.measured, again.known) == (0, first.measured)
    assert "all in the store" in str(again)
    assert again.table == first.table


def test_other_threads_are_another_table(known_device: Any, chain_subject: Any, chain_truth: Any, store: Store) -> None:
    tabulator(chain_subject, [known_device(chain_truth)], store).table()
    device = known_device(chain_truth)
    assert tabulator(chain_subject, [device], store, threads=1).table().measured > 0
    assert "profile" in verbs(device)


def test_no_assignment_is_timed_twice(known_device: Any, chain_subject: Any, chain_truth: Any, store: Store) -> None:
    """A run left out of the fit must not be in it under another number; a small network has few assignments."""
    space = chain_subject.space
    one = SearchSpace(
        sites=(space.sites[0], *(Site(name=site.name, op=site.op) for site in space.sites[1:])), edges=space.edges
    )
    sites = {name: {c: k for c, k in all_.items() if name == "s0" or c == "float"}
             for name, all_ in chain_subject.kernels.sites.items()}  # fmt: skip
    subject = replace(chain_subject, space=one, kernels=replace(chain_subject.kernels, sites=sites))
    device = known_device(chain_truth)
    tabled = tabulator(subject, [device], store).table()
    assert tabled.table.held_out == 2
    timed = [assignment for verb, assignment in device.asked if verb == "time"]
    assert sum(assignment["s0"] == "int8" for assignment in timed) == 2  # once in every round


def test_a_network_without_a_choice_has_a_table(
    known_device: Any, chain_subject: Any, chain_truth: Any, store: Store
) -> None:
    space = chain_subject.space
    fixed = replace(space, sites=tuple(Site(name=site.name, op=site.op) for site in space.sites))
    kernels = replace(
        chain_subject.kernels,
        sites={name: {"float": all_["float"]} for name, all_ in chain_subject.kernels.sites.items()},
    )
    subject = replace(chain_subject, space=fixed, kernels=kernels)
    tabled = tabulator(subject, [known_device(chain_truth)], store).table()
    assert tabled.table.predict_us({}) == pytest.approx(chain_truth.predict_us({}), rel=0.01)


def test_the_table_is_of_a_machine_as_fast_as_it_is_now(
    known_device: Any, chain_subject: Any, chain_truth: Any, store: Store
) -> None:
    """Runs of the store count by their ratio to the float network."""
    tabulator(chain_subject, [known_device(chain_truth)], store).table()
    slower = 1.5 * chain_truth.predict_us({})
    table = tabulator(chain_subject, [known_device(chain_truth)], store, float_us=slower).table().table
    assert table.predict_us({}) == pytest.approx(slower, rel=0.02)


def test_an_interrupted_profile_goes_on(known_device: Any, chain_subject: Any, chain_truth: Any, store: Store) -> None:
    """What was timed is kept, and not timed again."""
    dying = known_device(chain_truth, alive=20)
    with pytest.raises(DeviceLost):
        tabulator(chain_subject, [dying], store).table()
    setting = tabulator(chain_subject, [dying], store).setting
    kept = [row.assignment for row in store.runs(setting)]
    assert 0 < len(kept) < RUNS
    device = known_device(chain_truth)
    tabulator(chain_subject, [device], store).table()
    timed = [assignment for verb, assignment in device.asked if verb == "time"]
    assert [assignment for assignment in kept if assignment in timed] == []
    assert len(store.runs(setting)) >= RUNS


def test_the_first_device_may_be_lost(known_device: Any, chain_subject: Any, chain_truth: Any, store: Store) -> None:
    """With another one of its kind the table is completed, and kept."""
    dying, other = known_device(chain_truth, name="dying"), known_device(chain_truth, name="other")

    def die(verb: str, calls: int, assignment: object) -> float:
        if (verb, calls) == ("profile", 3):
            dying.alive = 0
            dying.state()
        return 1.0

    def wait(verb: str, calls: int, assignment: object) -> float:
        assert verb == "time" or dying.lost.wait(timeout=30)
        return 1.0

    dying.slowness, other.slowness = die, wait
    made = tabulator(chain_subject, [dying, other], store)
    assert made.table().measured == len(store.kernels(made.setting)) > 12


def test_runs_of_a_disturbed_machine_do_not_count(
    known_device: Any, chain_subject: Any, chain_truth: Any, store: Store
) -> None:
    def slowness(verb: str, count: int, assignment: Any) -> float:
        disturbed = verb == "time" and count < 8
        return (1.7 if "int8" not in assignment.values() else 1.1) if disturbed else 1.0

    device = known_device(chain_truth, slowness=slowness)
    table = tabulator(chain_subject, [device], store).table().table
    assert table.predict_us({}) == pytest.approx(chain_truth.predict_us({}), rel=0.02)
    assert table.error < 0.02


def test_a_device_that_counts_needs_few_runs(
    known_device: Any, chain_subject: Any, chain_truth: Any, store: Store
) -> None:
    device = known_device(chain_truth, provenance="simulated")
    made = tabulator(chain_subject, [device], store, threads=1)
    tabled = made.table()
    assert tabled.table.provenance == "simulated"
    assert len(store.runs(made.setting)) <= EXACT_RUNS
    assert {row.provenance for row in store.all_kernels(made.setting)} == {"simulated"}


def test_rows_of_another_kind_do_not_count_as_measured(
    known_device: Any, chain_subject: Any, chain_truth: Any, store: Store
) -> None:
    """An imported file may say of this device what a model thought of it."""
    made = tabulator(chain_subject, [known_device(chain_truth)], store)
    made.table()
    estimates = [replace(row, provenance="analytic", median_us=1.0, p10_us=1.0, p90_us=1.0)
                 for row in store.all_kernels(made.setting)]  # fmt: skip
    store.add_kernels(made.setting, estimates)
    device = known_device(chain_truth)
    tabled = tabulator(chain_subject, [device], store).table()
    assert "profile" in verbs(device)
    assert tabled.measured == len(estimates)
    assert isinstance(tabled, Tabled)
