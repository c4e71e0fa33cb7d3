"""The latency store: what was measured, where, with which runtime, and when; shared by all processes of a user."""

from hwcomp.store.latencies import Store
from hwcomp.store.rows import KernelRow, Observation, Pruning, RunRow, Setting, SettingSummary, now

__all__ = ["KernelRow", "Observation", "Pruning", "RunRow", "Setting", "SettingSummary", "Store", "now"]
