"""Results of a GPU as Markdown tables."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

Results = Mapping[str, dict[str, Any]]


def distances(cases: Results) -> str:
    """Return how far libraries are from PyTorch."""
    rows = ["| library | relative distance | same class |", "|---|---|---|"]
    for case in cases.values():
        for name, one in case["result"].items():
            row = f"| {case['options']['network']}, {name} | {one['distance']:.1e} | {one['same_class']:.1%} |"
            rows.append(row)
    return "\n".join(rows)


def latencies(cases: Results) -> str:
    """Return times and speed-ups, the reference of each case first."""
    rows = ["| network, batch | what | median, us | p10 to p90 | speed-up | p10 to p90 |", "|---|---|---|---|---|---|"]
    for case in cases.values():
        found, options = case["result"], case["options"]
        reference = found["against"]
        for name, one in sorted(found["times"].items(), key=lambda pair: pair[0] != reference):
            us, speedup = one["us"], one["speedup"]
            rows.append(
                f"| {options['network']}, {options['batch']} | {name} | {us['median']:.0f} | {us['p10']:.0f} to "
                f"{us['p90']:.0f} | {speedup['median']:.2f}x | {speedup['p10']:.2f} to {speedup['p90']:.2f} |"
            )
    return "\n".join(rows)


def products(cases: Results) -> str:
    """Return what the commands found: the table's error for each network, and the versions that were compared."""
    rows = ["| network, batch | version | median, us | speed-up | off by |", "|---|---|---|---|---|"]
    for case in cases.values():
        options, found = case["options"], case["result"]
        where = f"{options.get('network', 'general')}, {options.get('batch', '')}"
        if options["kind"] == "compile":
            for one in found["versions"]:
                taken = " (taken)" if one["taken"] else ""
                numbers = one["refused"] or f"{one['latency_us']:.0f} | {one['speedup']:.2f}x | {one['distance']:.1e}"
                rows.append(f"| {where} | {one['name']}{taken} | {numbers} |")
        elif options["kind"] == "profile":
            rows.append(f"| {where} | table of {found['kernels']} kernels, error {found['error']:.1%} | | | |")
    return "\n".join(rows)


def launches(cases: Results) -> str:
    """Return the cost of starting a kernel."""
    (case,) = cases.values()
    rows = ["| kernels started | us for each |", "|---|---|"]
    names = [name for name in ("one_by_one", "as_a_graph") if name in case["result"]]
    return "\n".join([*rows, *(f"| {n.replace('_', ' ')} | {case['result'][n]['kernel_us']:.2f} |" for n in names)])


def speeds(cases: Results) -> str:
    """Return seconds of an epoch, and the cost of the loop."""
    rows = ["| network | batches | seconds of an epoch | over a bare loop |", "|---|---|---|---|"]
    for case in cases.values():
        for kind, one in case["result"].items():
            epoch_s = one["epoch_s"]["hwcomp"]["median"]
            extra = one["over_bare"]["median"] - 1
            rows.append(f"| {case['options']['model']} | {kind} | {epoch_s:.2f} | {extra:+.1%} |")
    return "\n".join(rows)


def accuracies(cases: Results) -> str:
    """Return the test accuracy of each method, over its seeds."""
    found: dict[tuple[str, str], list[float]] = {}
    for case in cases.values():
        options, one = case["options"], case["result"]
        method = one["method"] if options["kind"] == "pruning" else f"{one['pattern']} at {one['density']:.0%}"
        found.setdefault((options["model"], method), []).append(one["test_accuracy"])
    rows = ["| network | method | test accuracy | seeds |", "|---|---|---|---|"]
    for (model, method), scores in found.items():
        spread = f" +- {statistics.pstdev(scores):.2f}" if len(scores) > 1 else ""
        rows.append(f"| {model} | {method} | {statistics.mean(scores):.2f}{spread} % | {len(scores)} |")
    return "\n".join(rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "correct": distances,
    "latency": latencies,
    "compiled": latencies,
    "launch": launches,
    "product": products,
    "speed": speeds,
    "training": accuracies,
}
"""Step -> its table."""
