"""Measure everything on a GPU machine without network, from an unpacked bundle (see docs/gpu.md).

    python run.py --out results [--minutes 10] [--only STEP ...] [--jobs 4]
    python run.py --out rehearsal --rehearse          # on a processor, with tiny sizes: nothing is measured

Steps, the most important first: facts, correct, latency, launch, speed, tests, product, compiled, training. The same
command goes on where it was. Exit codes: 0 all done, 1 something failed, 2 it cannot run here, 3 time ended before
everything was done, 130 interrupted.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BROUGHT = ROOT / "python"


def main() -> int:
    """Find the bundle's parts, and run what was asked for."""
    if not (ROOT / "bundle.json").is_file():
        print("run.py: it runs in a bundle, and none is here; build one with `make gpu-bundle`.", file=sys.stderr)
        return 2
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "gpu")]
    sys.path.append(str(BROUGHT))  # what the machine has comes first
    from schedule import run_here

    return run_here(__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
