"""A device whose cores now and then slow each other down is measured while they do not."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hwcomp.devices import open_device
from hwcomp.devices.control import control_feed, control_model
from hwcomp.devices.local import LocalDevice
from hwcomp.devices.steady import Clock, SteadyDevice
from hwcomp.errors import InputError

MODEL = b"some model"
FREE_SCALING, SHARED_SCALING = 1.8, 1.2


@dataclass
class Sharing:
    """A machine whose two cores are free or not, by a plan; time passes only when it works or someone sleeps.

    Attributes:
        shared: beginning and end of the times at which the cores are one, in seconds.
        now_s: the time.
        blocks: when each block of a model began.
    """

    shared: tuple[tuple[float, float], ...]
    now_s: float = 0.0
    blocks: list[float] = field(default_factory=list)
    name: str = "machine"
    provenance: str = "measured"

    def is_shared(self) -> bool:
        return any(start <= self.now_s < end for start, end in self.shared)

    def time_block(self, model: bytes, feed: object, threads: int, runs: int | None = None) -> list[float]:
        scaling = 1.0 if threads == 1 else SHARED_SCALING if self.is_shared() else FREE_SCALING
        if model == control_model():
            self.now_s += 0.005
            return [100.0 / scaling] * 5
        self.blocks.append(self.now_s)
        self.now_s += 0.25
        return [1000.0 / scaling] * 5

    def facts(self) -> object:
        return LocalDevice().facts()

    def remarks(self) -> list[str]:
        return []

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def steady(self, patience: float = 20.0) -> SteadyDevice:
        clock = Clock(now=lambda: self.now_s, sleep=self.sleep)
        return SteadyDevice(self, patience, clock)  # type: ignore[arg-type]


def measure(device: SteadyDevice, threads: int = 2) -> float:
    return device.time_block(MODEL, {}, threads)[0]


@pytest.mark.usefixtures("cache")
def test_free_cores_are_measured_at_once() -> None:
    machine = Sharing(())
    device = machine.steady()
    assert [measure(device) for _ in range(5)] == [1000 / FREE_SCALING] * 5
    assert len(machine.blocks) == 5
    assert device.waited_s == 0.0
    assert device.remarks() == []


@pytest.mark.usefixtures("cache")
def test_it_waits_for_free_cores() -> None:
    machine = Sharing(((0.0, 8.0),))
    assert measure(machine.steady()) == 1000 / FREE_SCALING
    assert machine.blocks[0] > 8.0


@pytest.mark.usefixtures("cache")
def test_a_block_in_which_the_cores_became_one_is_repeated() -> None:
    machine = Sharing(((0.4, 6.0),))
    device = machine.steady()
    assert [measure(device) for _ in range(3)] == [1000 / FREE_SCALING] * 3
    assert len(machine.blocks) == 4
    assert device.contended == 0


@pytest.mark.usefixtures("cache")
def test_patience_ends_and_that_is_said() -> None:
    machine = Sharing(((1.0, 1e9),))
    device = machine.steady(patience=10.0)
    times = [measure(device) for _ in range(20)]
    assert times[-1] == 1000 / SHARED_SCALING
    assert device.waited_s >= 10.0
    (remark,) = device.remarks()
    assert "HWCOMP_PATIENCE" in remark
    assert f"{device.contended} blocks" in remark


@pytest.mark.usefixtures("cache")
def test_what_is_best_is_remembered_by_the_next_command() -> None:
    measure(Sharing(()).steady())
    machine = Sharing(((0.0, 8.0),))
    measure(machine.steady())
    assert machine.blocks[0] > 8.0
    assert machine.now_s < 10.0, "nothing had to be sought"


@pytest.mark.usefixtures("cache")
def test_cores_that_never_do_better_are_waited_for_only_once() -> None:
    always = ((0.0, 1e9),)
    first, second = Sharing(always), Sharing(always)
    device = first.steady(patience=10.0)
    assert measure(device) == 1000 / SHARED_SCALING
    assert device.remarks() == [], "that is simply how fast this machine is"
    assert first.blocks[0] >= 10.0
    measure(second.steady(patience=10.0))
    assert second.blocks[0] < 1.0


@pytest.mark.usefixtures("cache")
def test_one_thread_needs_no_probe() -> None:
    machine = Sharing(((0.0, 1e9),))
    assert measure(machine.steady(), threads=1) == 1000.0
    assert machine.blocks == [0.0]


def test_real_cores_are_measured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWCOMP_PATIENCE", "0.2")
    with open_device("local") as device:
        assert isinstance(device, SteadyDevice)
        assert len(device.time_block(control_model(), control_feed(), 2, runs=7)) == 7
    assert list((cache / "scaling").glob("*.json"))


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_patience_that_is_no_number_of_seconds_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWCOMP_PATIENCE", text)
    with pytest.raises(InputError, match=f"HWCOMP_PATIENCE must be zero or more seconds; found '{text}'"):
        open_device("local")
