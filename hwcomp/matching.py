"""Whether a device is what a target describes; the fingerprint decides."""

from hwcomp.devices.base import Device
from hwcomp.devices.facts import DeviceFacts
from hwcomp.errors import DeviceError, InputError
from hwcomp.target import Gpu, Target

SAME_MACHINE = {"arm64": "aarch64", "amd64": "x86_64"}


def check_matches(device: Device, target: Target) -> None:
    """Check that latencies of a device may stand for a target.

    Raises:
        InputError: it is another architecture, another core or GPU, or lacks an instruction set of the target.
        DeviceError: it has no GPU at all, or several kinds, where the target is one.
    """
    facts = device.facts()
    if target.gpu is not None:
        check_gpus(device)
    if target.local and device.name == "local":
        return
    found, wanted = (SAME_MACHINE.get(name.lower(), name.lower()) for name in (facts.machine, target.machine))
    reason = None
    if found != wanted:
        reason = f"it is {facts.machine}, the target is {target.machine}"
    elif facts.simulated is None and target.cpu.lower() not in facts.cpu.lower():
        reason = f"its processor is '{facts.cpu}', the target's is '{target.cpu}'"
    elif missing := sorted(set(target.isa) - set(facts.isa)):
        reason = f"it lacks {', '.join(missing)}, which the target has"
    elif target.gpu is not None:
        reason = _other_gpu(facts, target.gpu)
    if reason is not None:
        raise InputError(
            f"Device '{device.name}' is not a '{target.name}': {reason}. Choose another --target, write one of your "
            "own (`hwcomp targets show`), or measure it all the same with `hwcomp profile --force-fingerprint`."
        )


def check_gpus(device: Device) -> None:
    """Check that a device which must have GPUs does, all of one kind.

    Raises:
        DeviceError: there is none or none that can be used; the sentence says why.
    """
    facts = device.facts()
    if not facts.gpus:
        problem = facts.gpu_problem or "there is no NVIDIA GPU"
        raise DeviceError(
            f"On the device '{device.name}' {problem}, so nothing can be measured for a GPU: give a --device with one, "
            "or compile without --device for estimates."
        )
    kinds = list(dict.fromkeys(gpu.name for gpu in facts.gpus))
    if len(kinds) > 1:
        raise DeviceError(
            f"'{device.name}' has GPUs of different kinds ({', '.join(kinds)}), whose latencies do not belong in one "
            "table: choose one there with CUDA_VISIBLE_DEVICES=0, by its number in `nvidia-smi`."
        )


def _other_gpu(facts: DeviceFacts, wanted: Gpu) -> str | None:
    """Return why the first GPU of a device is not the one of a target, None if it is."""
    found = facts.gpus[0]
    if not wanted.is_called(found.name):
        return f"its GPU is '{found.name}', the target's is '{wanted.name}'"
    if found.compute is not None and found.compute != wanted.capability:
        return f"its GPU has compute capability {found.compute}, the target's has {wanted.capability}"
    return None
