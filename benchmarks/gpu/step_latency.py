"""The libraries against PyTorch: eager and captured as a CUDA graph, and in the step "compiled" torch.compile too."""

from collections.abc import Callable
from typing import Any

import torch
from case import Setting
from clock import contest, warm_up
from library import Library, images, libraries, reference
from torch import Tensor, nn

EAGER, COMPILED = "eager_float16", "compile_float16"
MODES = {COMPILED: "max-autotune", f"{COMPILED}_plain": "max-autotune-no-cudagraphs"}

Run = Callable[[], Any]


def run(setting: Setting, network: str, batch: int) -> dict[str, Any]:
    """Return the times of one network at one batch, and how many times faster than the reference each is."""
    torch.backends.cudnn.benchmark = True  # the reference at its best
    device, x = setting.device, images(network, batch, setting.device)
    dtype = torch.float32 if setting.rehearse else torch.float16
    model, half = reference(network, device).to(dtype), x.to(dtype)
    with torch.inference_mode():
        runs: dict[str, Run] = {EAGER: _eager(model, half)}
        runs |= {name: Library(path, x) for name, path in libraries(network, batch, device).items()}
        lasting = reference(network, device).to(dtype, memory_format=torch.channels_last)
        runs[f"{EAGER}_channels_last"] = _eager(lasting, half.contiguous(memory_format=torch.channels_last))
        if device == "cuda":
            runs[f"{EAGER}_graph"] = captured(runs[EAGER])
            runs[f"{EAGER}_channels_last_graph"] = captured(runs[f"{EAGER}_channels_last"])
        against = EAGER
        if setting.step == "compiled":
            runs, against = runs | _compiled(setting, network, half), COMPILED
        warmed = warm_up(runs[against], device, setting.warm_s)
        found = contest(runs, against, device, rounds=setting.rounds, block_s=setting.block_s)
    return {"warm_up": warmed, **found}


def captured(run: Run) -> Run:
    """Return what replays a run as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _eager(model: nn.Module, x: Tensor) -> Run:
    return lambda: model(x)


def _compiled(setting: Setting, network: str, x: Tensor) -> dict[str, Run]:
    found: dict[str, Run] = {}
    for name, mode in MODES.items():
        model = reference(network, setting.device).to(x.dtype)
        options = {"backend": "eager"} if setting.rehearse else {"mode": mode}
        found[name] = _eager(torch.compile(model, **options), x)
        for _ in range(3):
            found[name]()
    return found
