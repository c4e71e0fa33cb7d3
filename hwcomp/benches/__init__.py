"""Benches: where a search gets its latencies from, measured on a device or estimated for one that is not at hand."""

from hwcomp.benches.base import Bench, Context
from hwcomp.benches.estimated import PaperBench
from hwcomp.benches.measured import MeasuredBench
from hwcomp.config import CompileConfig
from hwcomp.devices import EMULATED, LOCAL, open_device
from hwcomp.devices.base import Device
from hwcomp.errors import HwcompError
from hwcomp.matching import check_matches
from hwcomp.target import Target


def make_bench(context: Context) -> Bench:
    """Return the bench of a target: measured if there is a device to measure on.

    Raises:
        InputError: the device cannot be reached, or is not what the target says.
    """
    device = device_for(context.prepared.target, context.config)
    return PaperBench(context) if device is None else MeasuredBench(context, device)


def device_for(target: Target, config: CompileConfig) -> Device | None:
    """Return the device to measure on: the one that was named, this machine if it is the target, or None.

    Raises:
        InputError: the device cannot be reached, or is not what the target says.
    """
    spec = config.device
    if spec is None:
        return open_device(LOCAL) if target.local else None
    device = open_device(spec, target)
    try:
        check_matches(device, target)
    except HwcompError:
        device.close()
        raise
    return device


def check_device(target: Target, config: CompileConfig) -> None:
    """See that the device that was named can be measured on, before any work; an emulated one is not started for it.

    Raises:
        InputError: the device cannot be reached, or is not what the target says.
    """
    if config.device not in (None, EMULATED):
        device = device_for(target, config)
        assert device is not None
        device.close()


__all__ = ["Bench", "Context", "MeasuredBench", "PaperBench", "check_device", "device_for", "make_bench"]
