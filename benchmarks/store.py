"""How fast a latency store of 100,000 rows is: look-ups of one model's kernels, and imports; in fresh processes."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import save

from hwcomp.store import KernelRow, Setting, Store, now
from hwcomp.store.exchange import export_rows

ROWS = 100_000
KEYS = 400
LOOK_UPS = 20

DEVICES = [
    Setting(device=f"cpu: board {number} | isa: asimd | cores: 4", runtime="onnxruntime 1.31.1", threads=threads)
    for number in range(5)
    for threads in (1, 4)
]

LOOK_UP = """
import sys, time
from pathlib import Path
from hwcomp.store import Setting, Store

path, device, keys = Path(sys.argv[1]), sys.argv[2], sys.stdin.read().split()
start = time.perf_counter()
found = Store(path).kernels(Setting(device=device, runtime="onnxruntime 1.31.1", threads=4), keys)
print(time.perf_counter() - start)
assert len(found) == len(keys)
"""

IMPORT = """
import sys, time
from pathlib import Path
from hwcomp.store import Store
from hwcomp.store.exchange import import_rows

start = time.perf_counter()
merged = import_rows(Store(Path(sys.argv[1])), Path(sys.argv[2]), lambda share: None)
print(time.perf_counter() - start)
assert sum(one.new for one in merged) == int(sys.argv[3])
"""


def kernel(number: int) -> str:
    """Return a key as long as real ones, in an order unlike that of its number."""
    return f"conv2d|{number * 7919 % ROWS:06d}|x=1x{number % 512}x56x56,w=3x3,stride=1,groups=1,tail=relu"


def seconds(code: str, *arguments: str, given: str = "") -> float:
    """Return what a fresh process printed."""
    command = [sys.executable, "-c", code, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, input=given).stdout)


def fill(path: Path) -> Store:
    """Return a store of 100,000 rows of ten settings."""
    store, date = Store(path), now()
    for setting in DEVICES:
        store.add_kernels(
            setting,
            [
                KernelRow(
                    kernel=kernel(number), method="network", median_us=20.5 + number, p10_us=19.0 + number,
                    p90_us=24.25 + number, runs=40, date=date, provenance="measured",
                )
                for number in range(ROWS // len(DEVICES))
            ],
        )  # fmt: skip
    return store


def main() -> None:
    """Measure and save."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        store = fill(folder / "latency.sqlite")
        results: dict[str, float] = {"rows": ROWS, "keys": KEYS, "fill_s": time.perf_counter() - start}
        step = ROWS // len(DEVICES) // KEYS
        keys = "\n".join(kernel(number) for number in range(0, KEYS * step, step))
        times = [
            seconds(LOOK_UP, str(store.path), DEVICES[index % 5 * 2].device, given=keys) for index in range(LOOK_UPS)
        ]
        results |= {"look_up_s": statistics.median(times), "slowest_look_up_s": max(times)}
        for ending in ("jsonl", "parquet"):
            file = folder / f"table.{ending}"
            start = time.perf_counter()
            export_rows(store, file, lambda _: None)
            results[f"export_{ending}_s"] = time.perf_counter() - start
            copy = folder / f"{ending}.sqlite"
            results[f"import_{ending}_s"] = seconds(IMPORT, str(copy), str(file), str(ROWS))
            results[f"{ending}_bytes"] = file.stat().st_size
        results["store_bytes"] = store.path.stat().st_size
    save("store", results)
    print(
        f"{ROWS} rows: look-up of {KEYS} kernels {results['look_up_s'] * 1e3:.1f} ms "
        f"(slowest {results['slowest_look_up_s'] * 1e3:.1f}); import {results['import_jsonl_s']:.1f} s from JSON, "
        f"{results['import_parquet_s']:.1f} s from Parquet"
    )


if __name__ == "__main__":
    main()
