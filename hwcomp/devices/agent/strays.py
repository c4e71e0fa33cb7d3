"""Operators that the processor ran, although a GPU was asked for."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from .libraries import is_library
from .providers import CPU, PROVIDERS
from .sessions import KERNEL_SUFFIX, open_session
from .wire import Header, Refused, Source

SHAPE_OPS = frozenset(
    {"Cast", "Concat", "Constant", "ConstantOfShape", "Gather", "Range", "Reshape", "Shape", "Size", "Slice",
     "Squeeze", "Unsqueeze"}
)  # fmt: skip
"""Operators that stay on the processor beside a GPU where they only compute shapes, which are integers."""

ON_GPU: set[tuple[str, str]] = set()
"""Hashes of models that were seen to run on a GPU, with the provider."""


def check_on_gpu(source: Source, feed: Header, threads: int, provider: str) -> None:
    """Run a model once, profiled, and refuse it where the processor ran a part of it; each model once."""
    name = Path(source).name if isinstance(source, str) else hashlib.sha256(source).hexdigest()
    if (name, provider) in ON_GPU or is_library(source):
        return
    with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
        session = open_session(source, threads, folder, provider)
        session.run(None, feed)
        refuse_strays(json.loads(Path(session.end_profiling()).read_text()), provider)
    ON_GPU.add((name, provider))


def refuse_strays(events: list[Header], provider: str) -> None:
    """Refuse a profile in which the processor ran what the GPU was to run."""
    strays = run_on_processor(events, provider)
    if strays:
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        raise Refused(
            f"ONNX Runtime ran {', '.join(strays[:3])}{more} on the processor, not with {PROVIDERS[provider]}, so that "
            "the latencies would not be the GPU's: leave these operators out, or use an onnxruntime-gpu that has them "
            "(hwcomp[gpu], see docs/devices.md)",
            "gpu",
        )


def run_on_processor(events: list[Header], provider: str) -> list[str]:
    """Return the nodes of a profile that the processor ran, but those that only computed shapes; all if all did."""
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(KERNEL_SUFFIX)]
    used = {event["args"].get("provider") for event in nodes}
    strays = [event for event in nodes if event["args"].get("provider") == PROVIDERS[CPU] and not _is_shape(event)]
    strays = strays if PROVIDERS[provider] in used else [event for event in nodes if not _is_shape(event)] or nodes
    return list(dict.fromkeys(event["name"][: -len(KERNEL_SUFFIX)] for event in strays))


def _is_shape(event: Header) -> bool:
    """Return whether a node computed a shape: one of few operators, and only integers came out."""
    types = {name for output in event["args"].get("output_type_shape", []) for name in output}
    return event["args"].get("op_name") in SHAPE_OPS and types <= {"int64", "int32", "bool"}
