"""The verbs: everything that a request can ask for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from . import checks
from .libraries import is_library
from .machine import facts, state
from .profiling import BLOCKING, profile, profile_in_child
from .providers import CUDA, TENSORRT, check_provider, gpu_troubles
from .running import run_model, time_block
from .wire import Answer, Header, Refused, Source, first_line

KEPT_BYTES = 2**30
"""Models kept beyond this are dropped, the longest unused first; one that is missing is asked for again."""


class Agent:
    """Carries out requests; models are kept in ``folder``, by their hash."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.models: dict[str, Source] = {}

    def handle(self, request: Header, blobs: list[bytes]) -> Answer:
        """Return the answer to a request: what was asked for, or one sentence about what was wrong."""
        try:
            answer, out = VERBS.get(str(request.get("verb")), _unknown)(self, request, blobs)
        except Refused as error:
            answer, out = {"ok": False, "error": str(error), "kind": error.kind}, []
        except Exception as error:  # noqa: BLE001 - the runtime raises classes of its own; the host is told
            answer, out = {"ok": False, "error": first_line(error), "kind": "runtime"}, []
        return {"ok": True, **answer, "id": request.get("id")}, out

    def put(self, request: Header, blobs: list[bytes]) -> Answer:
        """Keep a model that arrived whole."""
        digest = hashlib.sha256(b"".join(blobs)).hexdigest()
        if digest != request.get("sha256"):
            raise Refused("the model did not arrive as it was sent: its SHA-256 differs")
        path = Path(self.folder) / digest
        path.write_bytes(b"".join(blobs))
        self.models[digest] = str(path)
        sizes = {key: Path(str(source)).stat().st_size for key, source in self.models.items()}
        for old in list(self.models)[:-1]:
            if sum(sizes.values()) <= KEPT_BYTES:
                break
            Path(str(self.models.pop(old))).unlink()
            del sizes[old]
        return {}, []

    def time(self, request: Header, blobs: list[bytes]) -> Answer:
        """Time one block of runs."""
        runs = None if request.get("runs") is None else checks.whole(request, "runs", 1, 100_000)
        block_s = request.get("block_s", 0.25)
        if type(block_s) not in (int, float) or not 0 < block_s <= 60:
            raise Refused("'block_s' must be a number of seconds up to 60")
        feed, warmup = checks.feed(request, blobs), checks.whole(request, "warmup", 1, 1000)
        provider = checks.provider(request)
        with gpu_troubles():
            timed = time_block(self.model(request), feed, checks.threads(request), runs, block_s, warmup, provider)
        return {**timed, "provider": provider}, []

    def profile(self, request: Header, blobs: list[bytes]) -> Answer:
        """Time every node in the context of the whole model."""
        runs, warmup = checks.whole(request, "runs", 1, 100_000), checks.whole(request, "warmup", 0, 1000)
        provider, source, feed = checks.provider(request), self.model(request), checks.feed(request, blobs)
        if provider == TENSORRT:
            raise Refused("TensorRT runs a network as one kernel, of which no part can be timed: time it whole", "gpu")
        if provider == CUDA and not is_library(source) and os.environ.get(BLOCKING) != "1":
            check_provider(provider)
            return profile_in_child(source, request, blobs)
        with gpu_troubles():
            answer, out = profile(source, feed, checks.threads(request), runs, warmup, provider)
        return {**answer, "provider": provider}, out

    def run(self, request: Header, blobs: list[bytes]) -> Answer:
        """Run a model once."""
        provider = checks.provider(request)
        with gpu_troubles():
            answer, out = run_model(self.model(request), checks.feed(request, blobs), checks.threads(request), provider)
        return {**answer, "provider": provider}, out

    def model(self, request: Header) -> Source:
        """Return the model that a request is about."""
        key = str(request.get("model"))
        if key not in self.models:
            raise Refused("that model is not here: `put` it first", "missing")
        self.models[key] = self.models.pop(key)  # now the last to be dropped
        return self.models[key]


VERBS: dict[str, Callable[[Agent, Header, list[bytes]], Answer]] = {
    "hello": lambda _agent, _request, _blobs: (facts(), []),
    "put": Agent.put,
    "time": Agent.time,
    "profile": Agent.profile,
    "run": Agent.run,
    "state": lambda _agent, _request, _blobs: (state(), []),
    "bye": lambda _agent, _request, _blobs: ({}, []),
}


def _unknown(_agent: Agent, request: Header, _blobs: list[bytes]) -> Answer:
    raise Refused(f"no verb {str(request.get('verb'))[:40]!r}; there are {', '.join(VERBS)}")
