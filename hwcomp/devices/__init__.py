"""Where models run and are timed; one kind of device per file."""

from typing import TYPE_CHECKING

from hwcomp.errors import InputError

if TYPE_CHECKING:
    from hwcomp.devices.base import Device
    from hwcomp.target import Target

LOCAL, EMULATED, SSH = "local", "emulated", "ssh://"
CPU = "cpu"
"""The provider of models that no GPU computes, see `hwcomp.devices.agent.providers`."""


def open_device(spec: str, target: "Target | None" = None, provider: str | None = None) -> "Device":
    """Return the device that a user names; nothing is sent to it yet.

    Args:
        spec: "local", "ssh://[user@]host[:port]" or "emulated".
        target: whose core is emulated, or whose GPU computes.
        provider: what computes there; what the target says, or the processor, if not given.

    A device that runs in real time is measured while its cores are free, see `hwcomp.devices.steady`; one with a GPU
    while that is not throttled, see `hwcomp.devices.throttling`.

    Raises:
        InputError: there is no such kind of device, or its address makes no sense.
    """
    provider = provider or (CPU if target is None else target.provider)
    if spec == LOCAL:
        from hwcomp.devices.local import LocalDevice  # noqa: PLC0415 - each kind loads what it needs

        return _steady(LocalDevice(provider), provider)
    if spec.startswith(SSH):
        from hwcomp.devices.ssh import SshDevice  # noqa: PLC0415

        return _steady(SshDevice(spec, provider=provider), provider)
    if spec == EMULATED and target is not None:
        from hwcomp.devices.emulated import EmulatedDevice  # noqa: PLC0415

        return EmulatedDevice(target)
    raise InputError(f"'{spec}' is no device; give local, ssh://user@host[:port] or emulated (with an ARM --target).")


def _steady(device: "Device", provider: str) -> "Device":
    from hwcomp.devices.steady import SteadyDevice, patience_s  # noqa: PLC0415
    from hwcomp.devices.throttling import UnthrottledDevice  # noqa: PLC0415

    patience = patience_s()
    if provider != CPU:
        return UnthrottledDevice(device, patience)
    return SteadyDevice(device, patience) if patience else device
