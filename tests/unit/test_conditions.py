"""Whether a machine is fit for measuring: what is said of it, and how a change of its speed is noticed."""

import pytest

from hwcomp.conditions import Watch, complaints
from hwcomp.devices.facts import DeviceState
from hwcomp.devices.local import LocalDevice
from hwcomp.devices.verbs import AgentDevice

FIT = {"load": 0.02, "clock_mhz": 2400.0, "temperature_c": 48.0, "governor": "performance", "temperature_limit_c": 85.0}
SILENT = dict.fromkeys(FIT)


def state(**changes: object) -> DeviceState:
    return DeviceState(**{**FIT, **changes})


class Slowed(AgentDevice):
    """This machine, with its times replaced by a plan: a machine whose speed changes when one wants it to."""

    name = "slowed"

    def __init__(self, plan_us: list[float], **changes: object) -> None:
        super().__init__()
        self._real, self.plan_us, self.changes = LocalDevice(), plan_us, changes

    def ask(self, verb, fields, blobs=()):
        header, out = self._real.ask(verb, fields, blobs)
        return {**header, **self.changes}, out

    def _about(self, model, verb, feed, threads, options):
        return self._good(verb, ({"ok": True, "us": [self.plan_us.pop(0)] * options["runs"]}, []))

    def close(self) -> None:
        pass


def test_a_fit_machine_and_one_that_tells_nothing_are_not_complained_about() -> None:
    assert complaints("local", state(), state()) == []
    assert complaints("local", state(**SILENT), state(**SILENT)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"governor": "powersave"}, "is governed by 'powersave', so its speed may change; `sudo cpupower"),
        ({"load": 1.26}, "keeps 1.3 cores of 'board' busy"),
        ({"temperature_c": 81.0}, "'board' is at 81 degrees, near the 85"),
        ({"clock_mhz": 1500.0}, "went from 2400 to 1500 MHz"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(change: dict[str, object], said: str) -> None:
    (sentence,) = complaints("board", state(), state(**change))
    assert said in sentence
    assert sentence.endswith(".")


def test_everything_that_is_wrong_is_said() -> None:
    bad = state(governor="schedutil", load=3.0, temperature_c=90.0, clock_mhz=600.0)
    assert len(complaints("board", state(), bad)) == 4


def test_the_control_notices_a_slower_and_a_faster_machine() -> None:
    watch = Watch(Slowed([100.0, 103.0, 98.0, 101.0, 100.0, 104.0, 130.0, 80.0, 99.0]), threads=1)
    assert watch.reference_us == 100.0
    assert [watch.steady() for _ in range(4)] == [True, False, False, True]
    assert watch.control_us == 99.0


def test_a_machine_that_stays_at_another_speed_becomes_the_usual() -> None:
    watch = Watch(Slowed([100.0] * 5 + [150.0] * 30), threads=1)
    steady = [watch.steady() for _ in range(30)]
    assert not any(steady[:4])
    assert all(steady[-15:])


def test_a_watch_over_this_machine_measures() -> None:
    with LocalDevice() as device:
        watch = Watch(device, threads=1)
        assert watch.reference_us > 0
        assert watch.steady() in (True, False)
        assert all(sentence.endswith(".") for sentence in watch.check())
    assert any("governed by 'ondemand'" in said for said in Watch(Slowed([1.0] * 5, governor="ondemand"), 1).check())
