"""What `hwcomp profile` does: measures the kernels of a model, or of a designed sample, on one or more devices."""

import json
from dataclasses import replace
from math import inf
from pathlib import Path

from rich.console import Console

from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.devices import open_device
from hwcomp.devices.base import Device
from hwcomp.devices.pool import check_alike
from hwcomp.errors import DeviceMemoryError, InputError
from hwcomp.general_profile import MINUTES, GeneralProfile
from hwcomp.latency_table import Tabulator, setting_of
from hwcomp.matching import check_gpus, check_matches
from hwcomp.pipeline import traced
from hwcomp.prepared import prepare_for_search
from hwcomp.profiling import is_exact
from hwcomp.stages import Stages, cache_root
from hwcomp.store import Store
from hwcomp.target import Target, load
from hwcomp.workload import Workload, load_workload

RUNS = 24
"""Whole runs that check the table of a model: twice as many as a compilation takes the time for."""


def profile(  # noqa: PLR0913 - the options of the command
    model: str | None,
    *,
    target: str,
    devices: tuple[str, ...],
    threads: int | None,
    minutes: float | None,
    store: Path | None,
    force_fingerprint: bool,
    as_json: bool,
) -> None:
    """Measure, and print what the store then knows.

    Raises:
        InputError: a device cannot be used, or is not what the target says.
    """
    wanted, console = load(target), Console(stderr=as_json)
    if minutes is not None and not 0 < minutes < inf:
        raise InputError(f"--minutes must be more than 0; found {minutes:g}.")
    reporter, kept = Reporter(console), Store(store)
    opened = [open_device(spec, wanted) for spec in dict.fromkeys(devices)]
    try:
        check_alike(opened)
        for device in opened:
            if not force_fingerprint:
                check_matches(device, wanted)
            elif wanted.gpu is not None:
                check_gpus(device)
        used = threads or _threads(opened[0], wanted)
        if model is None:
            summary = _general(wanted, opened, kept, used, minutes, reporter)
        else:
            if minutes is not None:
                raise InputError("--minutes is for a general profile; with a MODEL everything it needs is measured.")
            summary = _of_model(model, wanted, opened, kept, used, reporter)
        for remark in (remark for device in opened for remark in device.remarks()):
            console.print(remark, style="yellow", highlight=False)
    finally:
        for device in opened:
            device.close()
    if as_json:
        print(json.dumps(summary, indent=2))


def _threads(device: Device, target: Target) -> int:
    """Return how many cores are used if nobody says: all of them; those of a GPU are its multiprocessors."""
    if is_exact(device):
        return 1
    return device.facts().cores if target.gpu is None else target.hardware.cores


def _general(
    target: Target, devices: list[Device], store: Store, threads: int, minutes: float | None, reporter: Reporter
) -> dict[str, object]:
    profiled = GeneralProfile(
        target=target, devices=devices, store=store, threads=threads, minutes=minutes or MINUTES, seed=0,
        reporter=reporter,
    ).run()  # fmt: skip
    return {
        **_setting(devices[0], threads),
        "kernels": profiled.samples,
        "held_out_within_10_percent": profiled.held_out_within_10,
        "held_out_error": profiled.held_out_error,
    }


def _of_model(
    model: str, target: Target, devices: list[Device], store: Store, threads: int, reporter: Reporter
) -> dict[str, object]:
    workload = load_workload(model)
    while True:
        try:
            return _of_workload(workload, target, devices, store, threads, reporter)
        except DeviceMemoryError as error:  # noqa: PERF203 - an attempt takes minutes
            workload = with_half_batch(workload, error)
            batch = workload.example_inputs[0].shape[0]
            reporter.stage("Table").note(f"{error} A batch of {batch} is measured instead.")


def with_half_batch(workload: Workload, error: DeviceMemoryError) -> Workload:
    """Return a workload whose inputs hold half as many samples.

    Raises:
        DeviceMemoryError: the given one, where the inputs hold one sample, or not all equally many.
    """
    batches = {x.shape[0] if x.ndim else 1 for x in workload.example_inputs}
    if len(batches) > 1 or max(batches) == 1:
        raise error
    half = max(batches) // 2
    return replace(workload, example_inputs=tuple(x[:half] for x in workload.example_inputs))


def _of_workload(
    workload: Workload, target: Target, devices: list[Device], store: Store, threads: int, reporter: Reporter
) -> dict[str, object]:
    program = traced(workload, target, reporter)
    config = CompileConfig(target=target.name, threads=threads)
    prepared = prepare_for_search(workload, program, target, config, Stages(cache_root()), reporter)
    stage = reporter.stage("Table")
    tabulator = Tabulator(
        subject=prepared.subject, devices=devices, store=store, threads=threads, float_us=None, seed=0, stage=stage
    )
    tabled = tabulator.table(runs=RUNS, allow_learned=False)
    stage.done(f"{tabulator.setting.device}, {tabulator.setting.runtime}, threads: {threads}: {tabled}")
    return {
        **_setting(devices[0], threads),
        "kernels": tabled.known + tabled.measured,
        "measured_now": tabled.measured,
        "error": tabled.table.error,
        "held_out": tabled.table.held_out,
        "float_us": tabled.table.predict_us({}),
        "provenance": tabled.table.provenance,
    }


def _setting(device: Device, threads: int) -> dict[str, object]:
    setting = setting_of(device, threads)
    return {"device": setting.device, "runtime": setting.runtime, "threads": threads}
