"""Benches: where a search gets its latencies from, measured on this machine or estimated for another."""

from hwcomp.benches.base import Bench, Context
from hwcomp.benches.estimated import PaperBench
from hwcomp.benches.measured import LocalBench


def make_bench(context: Context) -> Bench:
    """Return the bench of a target: measured if the target is this machine."""
    return LocalBench(context) if context.prepared.target.local else PaperBench(context)


__all__ = ["Bench", "Context", "LocalBench", "PaperBench", "make_bench"]
