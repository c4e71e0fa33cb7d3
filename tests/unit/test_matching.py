"""Whether a device may stand for a target; the sentence names both sides."""

import platform
from dataclasses import replace
from typing import Any

import pytest

from hwcomp.devices.facts import DeviceFacts
from hwcomp.devices.local import LocalDevice
from hwcomp.errors import InputError
from hwcomp.matching import check_matches
from hwcomp.target import Target, detect_host, load

BOARD = DeviceFacts(
    machine="aarch64", cpu="ARM Cortex-A72", isa=("fp", "asimd", "crc32"), cores=4, governor=None, clock_mhz=None,
    temperature_c=None, runtimes={"onnxruntime": "1.31.1"}, python="3.11", numpy="2.4",
)  # fmt: skip
SERVER = replace(BOARD, machine="AMD64", cpu="Some Server CPU", isa=("avx2", "fma", "avx512f", "avx512_vnni"))
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}


def refusal(device: Any, target: Target) -> str:
    with pytest.raises(InputError) as refused:
        check_matches(device, target)
    return str(refused.value)


def test_this_machine_is_the_host() -> None:
    check_matches(LocalDevice(), detect_host())


def test_what_the_system_does_not_tell_of_this_machine_is_no_reason(known_device: Any) -> None:
    silent = replace(BOARD, machine="", cpu="", isa=())
    check_matches(known_device(None, name="local", known_facts=silent), detect_host())


def test_a_board_is_its_target(known_device: Any) -> None:
    check_matches(known_device(None, known_facts=BOARD), load("arm"))


@pytest.mark.parametrize("machine", ["arm64", "AARCH64"])
def test_systems_name_one_architecture_differently(known_device: Any, machine: str) -> None:
    check_matches(known_device(None, known_facts=replace(BOARD, machine=machine)), load("arm"))


def test_a_target_that_names_no_processor_takes_any_with_its_instructions(known_device: Any) -> None:
    check_matches(known_device(None, known_facts=SERVER), load("x86_64"))
    sentence = refusal(known_device(None, known_facts=replace(SERVER, isa=("avx2", "fma", "avx512f"))), load("x86_64"))
    assert "it lacks avx512_vnni, which the target has" in sentence


def test_a_simulated_core_need_not_name_itself(known_device: Any) -> None:
    """What the emulator shows as its processor depends on the machine that emulates."""
    simulated = replace(BOARD, cpu="", simulated="arm_cortex_a72")
    check_matches(known_device(None, known_facts=simulated, name="emulated"), load("arm"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"machine": "x86_64"}, ["it is x86_64", "the target is aarch64"]),
        ({"cpu": "ARM Cortex-A53"}, ["'ARM Cortex-A53'", "'Cortex-A72'"]),
        ({"isa": ("fp",)}, ["it lacks asimd"]),
    ],
)
def test_another_device_is_refused(known_device: Any, change: dict[str, Any], words: list[str]) -> None:
    """In one sentence: which device and target, what differs, what to do."""
    device = known_device(None, name="ssh://pi", known_facts=replace(BOARD, **change))
    sentence = refusal(device, load("arm"))
    for word in ["'ssh://pi'", "'arm_cortex_a72'", "--target", "--force-fingerprint", *words]:
        assert word in sentence
    assert "\n" not in sentence


def test_another_machine_than_this_one_is_not_the_host(known_device: Any) -> None:
    """The host is described by its own instruction sets, and another device must have them."""
    other = replace(BOARD, machine=platform.machine(), isa=())
    assert "it lacks" in refusal(known_device(None, name="ssh://other", known_facts=other), detect_host())


def test_this_machine_is_no_board_of_another_architecture() -> None:
    machine = platform.machine()
    name = "arm" if MACHINES[machine.lower()] == "x86_64" else "x86_64"
    sentence = refusal(LocalDevice(), load(name))
    assert "'local'" in sentence
    assert f"it is {machine}" in sentence
