"""Full-length trainings of the benchmarks of pruning and of sparse weights; an interrupted one goes on where it was."""

from argparse import Namespace
from typing import Any

from case import Setting
from images import workload

RATE = 0.4
"""Share of the channels that is removed."""


def run(setting: Setting, kind: str, model: str, **options: Any) -> dict[str, Any]:
    """Return the test accuracy that one training ends with."""
    subject = workload(setting, model)
    length = Namespace(epochs=options["epochs"], steps=options["steps"], precision="bf16")
    if kind == "pruning":
        import pruning

        return pruning.run(subject, options["method"], RATE, options["seed"], length)
    import sparse_accuracy

    from hwcomp.scheme import Sparse

    sparse = Sparse(rows=options["rows"], density=options["density"])
    return sparse_accuracy.run(subject, "magnitude_pruning", sparse, options["seed"], length)
