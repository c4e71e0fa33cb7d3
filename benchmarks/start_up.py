"""How long the command and the import take to start: medians of fresh processes."""

import statistics
import subprocess
import sys
import time

from common import hwcomp_command, save

RUNS = 9


def seconds(command: list[str]) -> float:
    """Return the median time of a command in a fresh process."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure and save."""
    help_s = seconds([hwcomp_command(), "--help"])
    torch_s = seconds([sys.executable, "-c", "import torch"])
    both_s = seconds([sys.executable, "-c", "import torch, hwcomp; hwcomp.compile, hwcomp.load"])
    bare_s = seconds([sys.executable, "-c", "import hwcomp"])
    empty_s = seconds([sys.executable, "-c", "pass"])
    save("start_up", {"help_s": help_s, "import_s": bare_s - empty_s, "api_beyond_torch_s": both_s - torch_s})
    print(
        f"hwcomp --help {help_s:.2f} s; import hwcomp {bare_s - empty_s:.3f} s; its API adds {both_s - torch_s:.2f} s"
    )


if __name__ == "__main__":
    main()
