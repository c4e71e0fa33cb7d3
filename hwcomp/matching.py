"""Whether a device is what a target describes; the fingerprint decides."""

from hwcomp.devices.base import Device
from hwcomp.errors import InputError
from hwcomp.target import Target

SAME_MACHINE = {"arm64": "aarch64", "amd64": "x86_64"}


def check_matches(device: Device, target: Target) -> None:
    """Check that latencies of a device may stand for a target.

    Raises:
        InputError: it is another architecture, another core, or lacks an instruction set of the target.
    """
    facts = device.facts()
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
    if reason is not None:
        raise InputError(
            f"Device '{device.name}' is not a '{target.name}': {reason}. Choose another --target, write one of your "
            "own (`hwcomp targets show`), or measure it all the same with `hwcomp profile --force-fingerprint`."
        )
