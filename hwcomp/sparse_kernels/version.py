"""Which sparse kernels these are: latencies of others are not theirs."""

import hashlib
from functools import cache
from importlib.resources import files

GENERATOR = "tir_tile.py"
DIGITS = 8


@cache
def kernels_version() -> str:
    """Return a short hash of the kernels' sources."""
    state = hashlib.sha256()
    for entry in sorted(files("hwcomp.sparse_kernels").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith((".c", ".h")) or entry.name == GENERATOR:
            state.update(entry.name.encode() + entry.read_bytes())
    return state.hexdigest()[:DIGITS]
