"""Benches: where a search gets its latencies from, measured on a device or estimated for one that is not at hand."""

from hwcomp.benches.base import Bench, Context
from hwcomp.benches.estimated import PaperBench
from hwcomp.benches.measured import MeasuredBench
from hwcomp.devices import LOCAL, open_device
from hwcomp.devices.base import Device
from hwcomp.matching import check_matches


def make_bench(context: Context) -> Bench:
    """Return the bench of a target: measured if there is a device to measure on.

    Raises:
        InputError: the device cannot be reached, or is not what the target says.
    """
    device = device_of(context)
    return PaperBench(context) if device is None else MeasuredBench(context, device)


def device_of(context: Context) -> Device | None:
    """Return the device to measure on: the one that was named, this machine if it is the target, or None."""
    target, spec = context.prepared.target, context.config.device
    if spec is None:
        return open_device(LOCAL) if target.local else None
    device = open_device(spec, target)
    check_matches(device, target)
    return device


__all__ = ["Bench", "Context", "MeasuredBench", "PaperBench", "device_of", "make_bench"]
