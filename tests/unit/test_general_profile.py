"""A general profile for a GPU draws batches of all sizes, and makes them smaller where they do not fit."""

import random
from pathlib import Path
from typing import Any

import pytest

from hwcomp import general_profile
from hwcomp.conditions import Watch
from hwcomp.console import Reporter
from hwcomp.devices.local import LocalDevice
from hwcomp.errors import DeviceMemoryError
from hwcomp.general_profile import GPU_BATCHES, GeneralProfile
from hwcomp.kernel import parse
from hwcomp.latency_table import setting_of
from hwcomp.store import Store
from hwcomp.target import load

FITS = 2


class Small(LocalDevice):  # type: ignore[misc] - a stand-in for a GPU whose memory is small
    """Has room for two inputs."""

    def kernel_times(self, model: bytes, feed: Any, *others: Any) -> Any:
        if len(next(iter(feed.values()))) > FITS:
            raise DeviceMemoryError("It does not fit.")
        return super().kernel_times(model, feed, *others)


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GeneralProfile:
    monkeypatch.setattr(general_profile, "GPU_MACS", 256 * 1_000_000)
    return GeneralProfile(
        target=load("gpu"), devices=[Small()], store=Store(tmp_path / "store.sqlite"), threads=1, minutes=1.0, seed=0,
        reporter=Reporter(),
    )  # fmt: skip


def test_all_batches_are_drawn(profile: GeneralProfile) -> None:
    generator = random.Random(0)
    assert {profile._draw(generator, {}).batch for _ in range(100)} == set(GPU_BATCHES)


def test_a_batch_that_does_not_fit_is_made_smaller(profile: GeneralProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(general_profile, "GPU_BATCHES", (8,))
    monkeypatch.setattr(general_profile, "GPU_MACS", 8 * 500_000)
    (device,), said = profile.devices, []
    assert profile._measure({}, Watch(device, 1), said.append) == 1
    assert [line.removeprefix("It does not fit. ") for line in said] == [
        "Now a batch of 4, after one of 8.", "Now a batch of 2, after one of 4.",
    ]  # fmt: skip
    kernels = [parse(row.kernel) for row in profile.store.all_kernels(setting_of(device, 1))]
    assert {shape[0] for kernel in kernels if kernel.op == "conv2d" for shape in kernel.inputs} == {FITS}
