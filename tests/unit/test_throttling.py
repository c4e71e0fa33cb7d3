"""A GPU that slows itself down is measured again, and refused if it does not recover."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from hwcomp.devices.facts import GpuState
from hwcomp.devices.steady import Clock
from hwcomp.devices.throttling import UnthrottledDevice
from hwcomp.errors import DeviceThrottled

SLOW = "The NVIDIA T4 of 'machine' slowed down while measured: heat, by hardware (900 of 1590 MHz, 93 degrees)."


@dataclass
class Hot:
    """A machine whose GPU is too hot until some time; a block takes a second."""

    until_s: float
    now_s: float = 0.0
    blocks: int = 0
    name: str = "machine"
    provenance: str = "measured"
    said: list[str] = field(default_factory=list)

    def time_block(self, model: bytes, feed: object, threads: int, runs: int | None = None) -> list[float]:
        self.blocks += 1
        self.now_s += 1.0
        if self.now_s <= self.until_s:
            raise DeviceThrottled(SLOW)
        return [100.0]

    def remarks(self) -> list[str]:
        return self.said

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def cool(self, patience: float = 20.0) -> UnthrottledDevice:
        return UnthrottledDevice(self, patience, Clock(now=lambda: self.now_s, sleep=self.sleep))  # type: ignore[arg-type]


def test_a_cool_gpu_is_measured_once() -> None:
    machine = Hot(until_s=0.0)
    device = machine.cool()
    assert device.time_block(b"", {}, 1) == [100.0]
    assert (machine.blocks, device.remarks()) == (1, [])


def test_what_was_measured_hot_is_measured_again() -> None:
    machine = Hot(until_s=8.0)
    device = machine.cool()
    assert device.time_block(b"", {}, 1) == [100.0]
    assert machine.blocks == 4
    (remark,) = device.remarks()
    assert remark == "Blocks were measured again on 'machine' while its GPU slowed down: 9 s."


@pytest.mark.parametrize(("patience", "tries"), [(20.0, 7), (0.0, 1)])
def test_a_gpu_that_stays_hot_is_refused_with_the_reason(patience: float, tries: int) -> None:
    machine = Hot(until_s=1e9)
    with pytest.raises(DeviceThrottled) as refused:
        machine.cool(patience).time_block(b"", {}, 1)
    assert machine.blocks == tries
    assert str(refused.value).startswith(f"{SLOW} It did so {tries} times in ")
    assert "HWCOMP_PATIENCE" in str(refused.value)


def states() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    yield (), ()
    yield ("power limit", "fixed clocks"), ()
    yield ("power limit", "heat, by software"), ("heat, by software",)
    yield ("hardware slowdown", "power brake"), ("hardware slowdown", "power brake")


@pytest.mark.parametrize(("reasons", "slowed"), states())
def test_only_what_passes_counts_as_slow(reasons: tuple[str, ...], slowed: tuple[str, ...]) -> None:
    assert GpuState(reasons=reasons).slowed == slowed
