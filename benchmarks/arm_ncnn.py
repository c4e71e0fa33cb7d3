"""Checks counted instructions as a measure of latency, in the runtime whose latencies are published: ncnn.

The networks of ncnn's own benchmark run under emulation, in ncnn's own build for ARM; the instructions that a run
executes, times one constant for each board, are compared with the latencies that ncnn publishes for it. The constant is
the cycles per instruction that `targets/arm_*.toml` quote. HWCOMP_ARM_DATA names the folder with the published files:
``ncnn_rk3399.csv``, ``ncnn_network_ops.csv`` and ``ncnn_params/``. It needs `hwcomp setup emulation`.
"""

import csv
import hashlib
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import save
from numpy.typing import NDArray
from scipy.stats import spearmanr

from hwcomp.emulation import setup
from hwcomp.emulation.cores import CORES
from hwcomp.emulation.counts import Counts
from hwcomp.emulation.emulator import Emulator
from hwcomp.emulation.wheels import fetch_wheels
from hwcomp.stages import Stages, cache_root
from hwcomp.target import Hardware, load

VARIABLE = "HWCOMP_ARM_DATA"
NCNN = "ncnn==1.0.20261020"
GUEST = Path(__file__).with_name("arm_ncnn_guest.py")
SOURCE = "Tencent/ncnn benchmark/README.md"
INTEGER_SUFFIX = "_int8"

SNAPDRAGON_855_PLUS_MS = {
    "squeezenet": 9.72, "squeezenet_int8": 10.30, "mobilenet": 15.23, "mobilenet_int8": 12.31, "mobilenet_v2": 10.61,
    "mobilenet_v3": 9.14, "shufflenet": 7.02, "shufflenet_v2": 6.73, "mnasnet": 10.03, "proxylessnasnet": 12.37,
    "efficientnet_b0": 23.37, "regnety_400m": 12.44, "blazeface": 3.96, "googlenet": 43.52, "googlenet_int8": 43.04,
    "resnet18": 23.73, "resnet18_int8": 46.91, "alexnet": 37.89, "vgg16": 138.53, "vgg16_int8": 368.55,
    "resnet50": 68.69, "resnet50_int8": 87.92, "squeezenet_ssd": 36.70, "squeezenet_ssd_int8": 47.30,
    "mobilenet_ssd": 38.36, "mobilenet_ssd_int8": 32.49, "mobilenet_yolo": 69.94, "mobilenetv2_yolov3": 38.78,
    "yolov4-tiny": 52.74,
}  # fmt: skip
"""Averages of one thread on the big cores of a Snapdragon 855+, at commit 08c2dac of ncnn: in half precision."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Board:
    """A core with published latencies.

    Attributes:
        name: of the board and its core.
        core: that is emulated.
        target: whose roofline is printed beside.
        clock_ghz: as published.
        latency_ms: network -> milliseconds.
    """

    name: str
    core: str
    target: str
    clock_ghz: float
    latency_ms: dict[str, float]


def boards(folder: Path) -> list[Board]:
    """Return the boards to compare with."""
    with (folder / "ncnn_rk3399.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["threads"] == "1"]
    rk3399 = {
        cluster: {row["network"]: float(row["avg_ms"]) for row in rows if row["powersave"] == cluster}
        for cluster in "12"
    }
    return [
        Board("RK3399, one Cortex-A72 at 1.8 GHz", "cortex-a72", "arm_cortex_a72", 1.8, rk3399["2"]),
        Board("RK3399, one Cortex-A53 at 1.5 GHz", "cortex-a53", "arm_cortex_a53", 1.5, rk3399["1"]),
        Board(
            "RK3399, one Cortex-A53 at 1.5 GHz, instructions of the code for other cores",
            "cortex-a72", "arm_cortex_a53", 1.5, rk3399["1"],
        ),
        Board(
            "Snapdragon 855+, one Kryo 485 (made from the Cortex-A76) at 2.96 GHz, half precision",
            "cortex-a76", "arm_cortex_a76", 2.96, SNAPDRAGON_855_PLUS_MS,
        ),
    ]  # fmt: skip


def count(emulator: Emulator, ncnn: Path, board: Board, params: Path) -> dict[str, Counts]:
    """Return what every network executes in one run; kept, since it does not change."""
    stages, counted = Stages(cache_root()), {}
    for network in board.latency_ms:
        path = params / f"{network}.param"
        what = (NCNN.encode(), board.core.encode(), GUEST.read_bytes(), path.read_bytes())
        key = hashlib.sha256(b"\0".join(what)).hexdigest()

        def once(path: Path = path) -> list[int]:
            print(f"  {board.core}: {path.stem}", flush=True)
            return run_once(emulator, ncnn, board.core, path)

        counted[network] = Counts(tuple(stages.json("ncnn-counts", key, once)))
    return counted


def run_once(emulator: Emulator, ncnn: Path, core: str, path: Path) -> list[int]:
    """Run one network under emulation and return its counts."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = emulator.command(CORES[core], out, str(GUEST), str(path), packages=(ncnn,))
        subprocess.run(command, check=True, env=emulator.environment(), stdout=subprocess.DEVNULL)
        rows = [line.split() for line in out.read_text().splitlines()]
        begin, end = ([int(value) for value in row[2:]] for row in rows if row[0] in "be")
        return [after - before for before, after in zip(begin, end, strict=True)]


def operators(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Return the operators of every network that multiply."""
    found: dict[str, list[dict[str, str]]] = {}
    with (folder / "ncnn_network_ops.csv").open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["network"], []).append(row)
    return found


def roofline_ms(rows: list[dict[str, str]], hardware: Hardware, clock_ghz: float) -> float:
    """Return the roofline of a network's operators in float on one core, in milliseconds."""
    total = 0.0
    for row in rows:
        cin, cout, kh, kw, groups = (int(row[name] or 1) for name in ("cin", "cout", "kh", "kw", "groups"))
        kind = "linear" if row["op"] == "fc" else "conv1x1" if kh == kw == 1 else "conv3x3"
        kind = "depthwise" if groups > 1 and groups == cin else kind
        operations = 2 * float(row["macs"])
        compute_us = operations / (clock_ghz * 1e3 * hardware.float_flop_per_cycle * hardware.efficiency[kind])
        image = (
            cin * int(row["hin"] or 1) * int(row["win"] or 1),
            cout * int(row["hout"] or 1) * int(row["wout"] or 1),
        )
        moved = 4 * (sum(image) + cin * cout * kh * kw / groups)
        memory_us = moved / (hardware.bandwidth_gb_per_s * 1e3)
        total += max(compute_us, memory_us) + hardware.kernel_overhead_us
    return total / 1e3


def judge(estimate: Values, latency_ms: Values) -> dict[str, float]:
    """Return the ranking, and the errors after one constant that is fitted without the network it is used on."""
    logs = np.log(latency_ms) - np.log(estimate)
    others = np.array([np.median(np.delete(logs, index)) for index in range(len(logs))])
    errors = np.abs(np.exp(others - logs) - 1)
    return {
        "spearman": float(spearmanr(estimate, latency_ms)[0]),
        "mean_error": float(errors.mean()),
        "largest_error": float(errors.max()),
    }


def compare(board: Board, counted: dict[str, Counts], ops: dict[str, list[dict[str, str]]], *, integer: bool) -> Any:
    """Return the comparison of one board, of its float or of its integer networks."""
    names = [name for name in board.latency_ms if name.endswith(INTEGER_SUFFIX) == integer]
    latency_ms = np.array([board.latency_ms[name] for name in names])
    instructions = np.array([float(counted[name].total) for name in names])
    cpi = latency_ms * board.clock_ghz * 1e6 / instructions
    macs = np.array([sum(float(row["macs"]) for row in ops[name]) for name in names])
    hardware = load(board.target).hardware
    roofline = np.array([roofline_ms(ops[name], hardware, board.clock_ghz) for name in names])
    p10, median, p90 = np.percentile(cpi, [10, 50, 90]).tolist()
    return {
        "networks": len(names),
        "cycles_per_instruction": {"median": median, "p10": p10, "p90": p90},
        "instructions": judge(instructions, latency_ms),
        "macs": judge(macs, latency_ms),
        **({} if integer else {"roofline": judge(roofline, latency_ms)}),
        "by_network": {
            name: {"published_ms": board.latency_ms[name], "instructions": counted[name].total, "cpi": float(value)}
            for name, value in zip(names, cpi, strict=True)
        },
    }


def show(name: str, result: dict[str, Any]) -> None:
    """Print one comparison."""
    cpi = result["cycles_per_instruction"]
    print(f"{name}, {result['networks']} networks: {cpi['median']:.3f} cycles per instruction "
          f"(p10 {cpi['p10']:.3f}, p90 {cpi['p90']:.3f})")  # fmt: skip
    for kind in ("instructions", "roofline", "macs"):
        if kind in result:
            row = result[kind]
            print(f"  {kind:<13} Spearman {row['spearman']:.3f}, mean error {100 * row['mean_error']:.1f} %, "
                  f"largest {100 * row['largest_error']:.0f} %")  # fmt: skip


def main() -> None:
    """Count, compare, save."""
    if VARIABLE not in os.environ:
        raise SystemExit(f"Set {VARIABLE} to the folder with ncnn's published latencies and networks.")
    folder = Path(os.environ[VARIABLE])
    emulator = setup.prepare(print)
    ncnn = emulator.root / "benchmark-ncnn"
    if not ncnn.is_dir():
        fetch_wheels(emulator.root, ncnn, [NCNN])
    results = {}
    for board in boards(folder):
        counted = count(emulator, ncnn, board, folder / "ncnn_params")
        for integer in (False, True):
            result = compare(board, counted, operators(folder), integer=integer)
            name = f"{board.name}: {'int8' if integer else 'float'}"
            show(name, result)
            results[name] = result
    path = save("arm_ncnn", {"runtime": NCNN, "published": SOURCE, "boards": results})
    print(json.dumps({"saved": str(path)}))


if __name__ == "__main__":
    main()
