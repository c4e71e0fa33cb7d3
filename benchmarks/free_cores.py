"""How the state of the cores changes what networks take: MobileNetV2 in float and int8 beside the control model.

    python benchmarks/free_cores.py [--rounds 80]

Each round times the control on one and on two threads, and both networks on two; rounds are then told apart by how much
faster the control is on two threads. One thread, the clock and the system's load tell nothing, see decision 10.
"""

import argparse
import time
from statistics import median
from typing import Any

from common import ROOT, save

from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.devices.control import control_feed, control_model
from hwcomp.devices.local import LocalDevice
from hwcomp.devices.steady import FREE
from hwcomp.pipeline import traced
from hwcomp.prepared import prepare_for_search
from hwcomp.scheme import INT8
from hwcomp.stages import Stages, cache_root
from hwcomp.target import load
from hwcomp.workload import load_workload

MODEL = "mobilenet_v2"
RUNS = 30


def observed(rounds: int) -> list[dict[str, float]]:
    """Return the latencies of each round, in microseconds."""
    target, device = load("host"), LocalDevice()
    workload = load_workload(f"{ROOT}/examples/imagenet_shapes/model.py:{MODEL}")
    reporter = Reporter()
    program = traced(workload, target, reporter)
    subject = prepare_for_search(workload, program, target, CompileConfig(), Stages(cache_root()), reporter).subject
    float_model = subject.lower(subject.space.everywhere())
    int8_model = subject.lower(subject.space.everywhere(INT8.name))

    def timed(model: bytes, feed: Any, threads: int) -> float:
        return float(median(device.time_block(model, feed, threads, RUNS)))

    found = []
    for _ in range(rounds):
        one = timed(control_model(), control_feed(), 1)
        all_threads = timed(control_model(), control_feed(), 2)
        found.append(
            {
                "control_1_thread_us": one,
                "control_2_threads_us": all_threads,
                "scaling": one / all_threads,
                "float_us": timed(float_model, subject.feed, 2),
                "int8_us": timed(int8_model, subject.feed, 2),
            }
        )
        time.sleep(0.4)
    return found


def summarised(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Return the medians of the rounds in which the cores were free, and of the others."""
    best = max(one["scaling"] for one in rounds)
    parts = {
        "free": [one for one in rounds if one["scaling"] >= FREE * best],
        "not_free": [one for one in rounds if one["scaling"] < FREE * best],
    }
    return {
        name: {"rounds": len(part), **{key: median(one[key] for one in part) for key in (part[0] if part else {})}}
        | ({"int8_share": median(one["int8_us"] / one["float_us"] for one in part)} if part else {})
        for name, part in parts.items()
    }


def main() -> None:
    """Measure, print both states and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=80)
    rounds = observed(parser.parse_args().rounds)
    summary = summarised(rounds)
    for name, part in summary.items():
        print(name, {key: round(value, 2) for key, value in part.items()})
    print(save("free_cores", {"model": MODEL, "summary": summary, "rounds": rounds}))


if __name__ == "__main__":
    main()
