"""The best table of a device that is not here: which rows are taken, in which order, and that kinds stay apart."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwcomp.cost_models import _shipped
from hwcomp.cost_models.learned import LearnedModel, fit
from hwcomp.cost_models.roofline import ERROR
from hwcomp.errors import InputError
from hwcomp.kernel import Kernel, Window
from hwcomp.known_tables import Known, KnownTables
from hwcomp.learned_file import model_path, write_model
from hwcomp.store import KernelRow, RunRow, Setting, Store
from hwcomp.target import Target, load

BOARD = Setting(device="cpu: Cortex-A72 | isa: asimd | cores: 4", runtime="onnxruntime 1.31.1", threads=4)
SIMULATED = Setting(device="simulated: arm_cortex_a72", runtime="onnxruntime 1.31.1", threads=1)
CPI_ERROR = 0.12


@pytest.fixture(autouse=True)
def _nothing_is_shipped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tables that come with hwcomp are no part of these tests, nor theirs of others."""
    monkeypatch.setattr(_shipped, "files", lambda _package: Path("no such folder"))
    for cached in (_shipped.shipped_table, _shipped.shipped_model):
        cached.cache_clear()
    yield
    for cached in (_shipped.shipped_table, _shipped.shipped_model):
        cached.cache_clear()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "latency.sqlite")


@pytest.fixture
def arm() -> Target:
    target = load("arm")
    return target.model_copy(update={"hardware": target.hardware.model_copy(update={"cpi_error": CPI_ERROR})})


def row(kernel: str, us: float, provenance: Any = "measured") -> KernelRow:
    return KernelRow(
        kernel=kernel, method="network", median_us=us, p10_us=us, p90_us=us, runs=3, date="2026-11-22",
        provenance=provenance,
    )  # fmt: skip


def rows(subject: Any, us: float, provenance: Any = "measured") -> list[KernelRow]:
    """Return a row of every kernel, all of the same time."""
    return [row(key, us, provenance) for key in subject.kernels.keys]


def run(subject: Any, assignment: dict[str, str], us: float, control_us: float, provenance: Any = "measured") -> RunRow:
    return RunRow(
        network=subject.network, assignment=assignment, median_us=us, p10_us=us, p90_us=us, runs=20,
        date="2026-11-22", provenance=provenance, control_us=control_us,
    )  # fmt: skip


def best(target: Target, store: Store, subject: Any, threads: int | None = None) -> Known:
    return KnownTables(target=target, store=store, threads=threads).best(
        subject.space, subject.kernels, subject.network
    )


def entries(known: Known) -> set[float]:
    """Return the times of the operators."""
    return {us for times in known.table.site_us.values() for us in times.values()}


def learned_model(us_per_mac: float) -> LearnedModel:
    """Return a model of a board that takes so long for every multiplication."""
    drawn = []
    for size in range(4, 24):
        for channels in (6, 8, 10, 12, 14, 16):
            window = Window(size=(1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
            shape = (1, channels, size, size)
            macs = channels**2 * size**2
            for scheme, speed in (("float", 1.0), ("int8", 0.5)):
                kernel = Kernel(op="conv2d", scheme=scheme, inputs=(shape,), output=shape, window=window)
                drawn.append(row(kernel.key, max(1.0, us_per_mac * speed * macs)))
    return fit(drawn, 0)


def test_without_rows_there_is_the_roofline(store: Store, arm: Target, chain_subject: Any) -> None:
    known = best(arm, store, chain_subject)
    assert known.table.provenance == "analytic"
    assert known.threads == arm.hardware.cores
    assert known.table.error == ERROR
    assert "nothing was measured" in known.source


def test_counted_instructions_count_before_the_roofline(store: Store, arm: Target, chain_subject: Any) -> None:
    store.add_kernels(SIMULATED, rows(chain_subject, 7.0, "simulated"))
    known = best(arm, store, chain_subject)
    assert (known.table.provenance, known.threads, entries(known)) == ("simulated", 1, {7.0})
    assert "no such device was measured" in known.source


def test_measured_rows_count_before_everything(store: Store, arm: Target, chain_subject: Any) -> None:
    store.add_kernels(SIMULATED, rows(chain_subject, 7.0, "simulated"))
    store.add_kernels(BOARD, rows(chain_subject, 5.0))
    known = best(arm, store, chain_subject)
    assert (known.table.provenance, known.threads, entries(known)) == ("measured", 4, {5.0})
    assert BOARD.device in known.source
    assert BOARD.runtime in known.source


def test_rows_of_another_device_do_not_count(store: Store, arm: Target, chain_subject: Any) -> None:
    """Not another core, nor one whose name only begins alike, nor a simulated core for a measured one."""
    for device in ("cpu: Cortex-A53 | isa: asimd | cores: 4", "cpu: Cortex-A720 | isa: asimd | cores: 4"):
        store.add_kernels(replace(BOARD, device=device), rows(chain_subject, 5.0))
    for device in ("simulated: arm_cortex_a53", "simulated: arm_cortex_a720"):
        store.add_kernels(replace(SIMULATED, device=device), rows(chain_subject, 5.0, "simulated"))
    assert best(arm, store, chain_subject).table.provenance == "analytic"


def test_the_threads_asked_for_are_respected(store: Store, arm: Target, chain_subject: Any) -> None:
    """Rows of four threads say nothing of two; a simulated core has one thread."""
    store.add_kernels(BOARD, rows(chain_subject, 5.0))
    store.add_kernels(SIMULATED, rows(chain_subject, 7.0, "simulated"))
    assert best(arm, store, chain_subject, threads=4).table.provenance == "measured"
    assert best(arm, store, chain_subject, threads=1).table.provenance == "simulated"
    two = best(arm, store, chain_subject, threads=2)
    assert (two.table.provenance, two.threads) == ("analytic", 2)


def test_a_setting_that_has_all_kernels_counts_before_one_with_more_rows(
    store: Store, arm: Target, chain_subject: Any
) -> None:
    """Other networks may have been measured with another version of the runtime."""
    old = replace(BOARD, runtime="onnxruntime 1.22.0")
    store.add_kernels(old, [row(f"other {index}", 1.0) for index in range(200)])
    store.add_kernels(BOARD, rows(chain_subject, 5.0))
    known = best(arm, store, chain_subject)
    assert entries(known) == {5.0}
    assert BOARD.runtime in known.source


def test_some_measured_rows_do_not_mix_with_others(store: Store, arm: Target, chain_subject: Any) -> None:
    """One kernel is missing: then all of them are simulated, and without those all are from the roofline."""
    store.add_kernels(BOARD, sorted(rows(chain_subject, 5.0), key=lambda one: one.kernel)[1:])
    assert best(arm, store, chain_subject).table.provenance == "analytic"
    store.add_kernels(SIMULATED, rows(chain_subject, 7.0, "simulated"))
    assert entries(best(arm, store, chain_subject)) == {7.0}


@pytest.mark.parametrize(("setting", "provenance"), [(SIMULATED, "simulated"), (BOARD, "measured")])
def test_rows_of_several_runtimes_do_not_mix(
    store: Store, arm: Target, chain_subject: Any, setting: Setting, provenance: str
) -> None:
    """Half of the operators by each version are not a table."""
    made = sorted(rows(chain_subject, 7.0, provenance), key=lambda one: one.kernel)
    for runtime, part in (("onnxruntime 1.31.1", made[::2]), ("onnxruntime 1.30.0", made[1::2])):
        store.add_kernels(replace(setting, runtime=runtime), part)
    assert best(arm, store, chain_subject).table.provenance == "analytic"
    store.add_kernels(setting, made)
    assert best(arm, store, chain_subject).table.provenance == provenance


def test_estimates_under_a_devices_name_are_not_measured(store: Store, arm: Target, chain_subject: Any) -> None:
    """An imported file may say of any device what a model thought of it."""
    store.add_kernels(BOARD, rows(chain_subject, 5.0, "analytic"))
    assert best(arm, store, chain_subject).table.provenance == "analytic"
    assert "roofline" in best(arm, store, chain_subject).source


def test_a_learned_model_of_the_board_fills_in_what_was_not_measured(
    store: Store, arm: Target, chain_subject: Any
) -> None:
    """Whole operators; the ones that were measured stay."""
    keys = {kernel.key for kernel in chain_subject.kernels.sites["s0"].values()}
    store.add_kernels(BOARD, [row(key, 5.0) for key in keys])
    store.add_kernels(SIMULATED, rows(chain_subject, 7.0, "simulated"))
    write_model(store.path, BOARD, learned_model(0.1))
    known = best(arm, store, chain_subject)
    assert known.table.provenance == "measured"
    assert known.table.sources["s0"] == "measured"
    assert set(known.table.site_us["s0"].values()) == {5.0}
    assert known.table.sources["s1"] == "learned"
    assert known.table.error > 0


def test_a_damaged_model_is_refused(store: Store, arm: Target, chain_subject: Any) -> None:
    store.add_kernels(BOARD, rows(chain_subject, 5.0)[:1])
    path = model_path(store.path, BOARD)
    path.parent.mkdir()
    path.write_text("{}")
    with pytest.raises(InputError, match="no learned model"):
        best(arm, store, chain_subject)


PATTERNS = [{f"s{i}": "int8" for i in range(6) if (i + shift) % 3} for shift in range(3)]


@pytest.mark.parametrize("right", [True, False])
def test_the_error_of_a_simulated_table_includes_that_of_the_rate(
    store: Store, arm: Target, chain_subject: Any, chain_truth: Any, right: bool
) -> None:
    """Counted runs that the table predicts well cannot lower it; runs that it predicts badly raise it."""
    store.add_kernels(SIMULATED, rows(chain_subject, 7.0, "simulated"))
    first = best(arm, store, chain_subject).table
    assert first.error == pytest.approx(CPI_ERROR)
    truth = first if right else chain_truth
    runs = [run(chain_subject, one, truth.predict_us(one), truth.predict_us({}), "simulated") for one in PATTERNS]
    store.add_runs(SIMULATED, runs)
    known = best(arm, store, chain_subject)
    assert known.table.held_out == 1 + len(PATTERNS)
    assert known.table.error == pytest.approx(CPI_ERROR, rel=0.05) if right else known.table.error > 1.5 * CPI_ERROR
    assert f"+-{100 * known.table.error:.0f} %" in known.source


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ship a table of kernels that all take 3 us."""

    def ship(target: Target, setting: Setting, subject: Any, provenance: str) -> None:
        (tmp_path / "tables").mkdir()
        about = {"device": setting.device, "runtime": setting.runtime, "threads": setting.threads}
        lines = [{"format": "hwcomp-latency", "version": 1}]
        lines += [
            {"row": "kernel", **about, "kernel": key, "median_us": 3.0, "provenance": provenance}
            for key in subject.kernels.keys
        ]
        (tmp_path / "tables" / f"{target.name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        monkeypatch.setattr(_shipped, "files", lambda _package: tmp_path)
        _shipped.shipped_table.cache_clear()

    return ship


def test_a_shipped_table_is_of_one_thread(store: Store, arm: Target, chain_subject: Any, ship: Any) -> None:
    """It counts where nothing was counted here, and only for as many threads as were emulated."""
    ship(arm, SIMULATED, chain_subject, "simulated")
    for threads in (None, 1):
        known = best(arm, store, chain_subject, threads)
        assert (known.table.provenance, known.threads, entries(known)) == ("simulated", 1, {3.0})
    assert best(arm, store, chain_subject, threads=2).table.provenance == "analytic"


def test_a_shipped_table_that_was_measured_says_so(store: Store, arm: Target, chain_subject: Any, ship: Any) -> None:
    """Rows that were measured here come before it, counted ones after it."""
    ship(arm, BOARD, chain_subject, "measured")
    store.add_kernels(SIMULATED, rows(chain_subject, 7.0, "simulated"))
    known = best(arm, store, chain_subject)
    assert (known.table.provenance, known.threads, entries(known)) == ("measured", BOARD.threads, {3.0})
    assert "shipped with hwcomp" in known.source
    assert best(arm, store, chain_subject, threads=1).table.provenance == "simulated"
    store.add_kernels(BOARD, rows(chain_subject, 5.0))
    assert entries(best(arm, store, chain_subject)) == {5.0}


def test_whole_runs_in_the_store_correct_the_table(
    store: Store, arm: Target, chain_subject: Any, chain_truth: Any
) -> None:
    """On a board where everything takes twice what its kernels say."""
    site_rows = [
        row(kernel.key, chain_truth.site_us[site][choice])
        for site, candidates in chain_subject.kernels.sites.items()
        for choice, kernel in candidates.items()
    ]
    tensor_rows = [
        row(kernel.key, (chain_truth.quantize_us if op == "quantize" else chain_truth.dequantize_us)[tensor])
        for tensor, directions in chain_subject.kernels.tensors.items()
        for op, kernel in directions.items()
    ]
    store.add_kernels(BOARD, [*site_rows, *tensor_rows])
    assert best(arm, store, chain_subject).table.predict_us({}) == pytest.approx(chain_truth.predict_us({}))
    double = 2 * chain_truth.predict_us({})
    store.add_runs(BOARD, [run(chain_subject, one, 2 * chain_truth.predict_us(one), double) for one in PATTERNS])
    known = best(arm, store, chain_subject)
    assert known.table.predict_us({}) == pytest.approx(double, rel=0.02)
    assert known.table.held_out == 1 + len(PATTERNS)  # the float network's time is in every run
    assert known.table.error < 0.05


def test_runs_of_another_network_correct_nothing(store: Store, arm: Target, chain_subject: Any) -> None:
    store.add_kernels(BOARD, rows(chain_subject, 5.0))
    store.add_runs(BOARD, [replace(run(chain_subject, {"s0": "int8"}, 900.0, 1000.0), network="another")])
    assert entries(best(arm, store, chain_subject)) == {5.0}


def test_a_target_that_names_no_processor_has_no_measured_rows(store: Store, chain_subject: Any) -> None:
    """Any x86-64 would do for its description, but their speeds differ."""
    store.add_kernels(replace(BOARD, device="cpu: Some CPU | isa: avx2 | cores: 2"), rows(chain_subject, 5.0))
    assert best(load("x86_64"), store, chain_subject).table.provenance == "analytic"


def test_rows_of_a_gpu_count_for_its_target(store: Store, chain_subject: Any) -> None:
    """By a whole word of the product's name: an L40S is no L4; and never those of the processor beside it."""
    gpu = "gpu: {} | compute: 8.9 | provider: cuda | cpu: Some CPU"
    for device, us in ((gpu.format("NVIDIA L40S"), 5.0), ("cpu: NVIDIA L4 | isa: avx2 | cores: 2", 6.0)):
        store.add_kernels(replace(BOARD, device=device, threads=58), rows(chain_subject, us))
    assert best(load("nvidia_l4"), store, chain_subject).table.provenance == "analytic"
    store.add_kernels(replace(BOARD, device=gpu.format("NVIDIA L4"), threads=58), rows(chain_subject, 7.0))
    known = best(load("nvidia_l4"), store, chain_subject)
    assert known.table.provenance == "measured"
    assert entries(known) == {7.0}
