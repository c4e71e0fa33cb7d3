"""How a model wishes to be run on a GPU: what computes it, in which precisions, and whether as a CUDA graph.

That is written at the model's own end, as JSON; ONNX Runtime sees an entry of the model's metadata, and runs the model
without it, too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from .carried import DIGITS, ending
from .providers import CUDA, PROVIDERS, TENSORRT
from .wire import Refused, Source

WISHES_MARK = b"hwcomp-wishes/1"
"""End of a model that has wishes, behind them and their length."""

TENSORRT_PRECISIONS = {"float16": "trt_fp16_enable", "bfloat16": "trt_bf16_enable", "int8": "trt_int8_enable"}
"""Precision -> option by which TensorRT may compute in it, where it finds that to be faster; int8 where the model has
Q/DQ pairs. What has no option here is float32, or in the model itself."""

GRAPHS = {CUDA: "enable_cuda_graph", TENSORRT: "trt_cuda_graph_enable"}
"""Provider -> option by which all kernels of a run are started together."""


@dataclass(frozen=True)
class Wishes:
    """How a model is to be run on a GPU.

    Attributes:
        provider: what computes, see `PROVIDERS`.
        precisions: that it may compute in, besides float32 and what the model has itself.
        graph: whether all kernels of a run are started together, as a CUDA graph.
    """

    provider: str = CUDA
    precisions: tuple[str, ...] = ()
    graph: bool = False

    def options(self) -> dict[str, str]:
        """Return the options of the provider, as ONNX Runtime names them."""
        found = {}
        if self.provider == TENSORRT:
            found = {"trt_sparsity_enable": "1"}  # zeros, two in every four weights, where leaving them out is faster
            found.update({TENSORRT_PRECISIONS[name]: "1" for name in self.precisions if name in TENSORRT_PRECISIONS})
        return {**found, GRAPHS[self.provider]: "1"} if self.graph else found

    def written(self) -> bytes:
        """Return what stands at the end of a model that has these wishes."""
        text = json.dumps(asdict(self), sort_keys=True).encode()
        return text + f"{len(text):0{DIGITS}x}".encode() + WISHES_MARK


def wishes_of(source: Source) -> Wishes | None:
    """Return how a model wishes to be run; None where it does not say, or is to be run by the processor."""
    try:
        text = ending(source, WISHES_MARK)
        if text is None:
            return None
        found = json.loads(text)
        wishes = Wishes(str(found["provider"]), tuple(map(str, found["precisions"])), found["graph"] is True)
    except (ValueError, KeyError, TypeError):
        raise Refused("what the model says of how it is to be run is damaged") from None
    if wishes.provider not in GRAPHS:
        raise Refused(f"the model is to be run by '{wishes.provider[:40]}', which is none of {', '.join(PROVIDERS)}")
    return wishes
