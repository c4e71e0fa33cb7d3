"""Turn a bundle's results into benchmarks/results/gpu_*.json, and print the tables of docs/gpu.md.

python benchmarks/gpu/gather.py RESULTS
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tables_gpu import TABLES

KEPT = Path(__file__).resolve().parents[1] / "results"
TABLES_OF_TARGETS = Path(__file__).resolve().parents[2] / "cost_models" / "tables"

Results = Mapping[str, dict[str, Any]]


def read_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results in a folder, by the name of their file.

    Raises:
        ValueError: there are none, or some are of a rehearsal.
    """
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    if not found:
        raise ValueError(f"{folder} holds no results of run.py; name the folder that was given as --out.")
    rehearsed = [name for name, one in found.items() if one.get("rehearsal") is not False]
    if rehearsed:
        raise ValueError(f"{folder} holds a rehearsal ({rehearsed[0]}), whose numbers mean nothing; measure on a GPU.")
    return found


def by_step(results: Results) -> dict[str, dict[str, dict[str, Any]]]:
    """Return step -> name of a case -> its result."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, one in results.items():
        found.setdefault(one["step"], {})[name] = one
    return found


def machine_line(results: Results) -> str:
    """Return the GPU, the versions and the date of results."""
    first = next(iter(results.values()))
    gpu, versions = (first["before"] or [{}])[0], first["machine"]["versions"]
    return (
        f"{gpu.get('name', 'GPU unknown')}, driver {gpu.get('driver')}, PyTorch {versions['torch']}, "
        f"TVM {first['machine']['tvm']}, {first['date'][:10]}"
    )


def main() -> int:
    """Copy what was measured, print tables, and name what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--into", type=Path, default=KEPT, help="where the shipped results lie")
    parser.add_argument("--tables", type=Path, default=TABLES_OF_TARGETS, help="where shipped latency tables lie")
    options = parser.parse_args()
    try:
        results = read_all(options.results)
    except ValueError as error:
        print(f"gpu-tables: {error}", file=sys.stderr)
        return 2
    good = {name: one for name, one in results.items() if one["ok"]}
    options.into.mkdir(parents=True, exist_ok=True)
    for step, cases in by_step(good).items():
        (options.into / f"gpu_{step}.json").write_text(json.dumps(cases, indent=1) + "\n")
        table: Callable[[Results], str] | None = TABLES.get(step)
        if table is not None:
            print(f"{machine_line(cases)}\n\n{table(cases)}\n")
    for table in sorted((options.results / "tables").glob("*")):
        shutil.copy(table, options.tables / table.name)
        print(f"{options.tables / table.name}: the table that hwcomp ships for this GPU")
    for name in sorted(set(results) - set(good)):
        print(f"{name} failed: {results[name]['error']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
