"""A compiled network as a function of tensors of PyTorch, run by TVM's runtime where they lie."""

from pathlib import Path
from typing import Any

import torch
from cases import ROOT, bundle
from networks import example_input, with_weights
from record import agent
from torch import Tensor, nn


class Library:
    """A network of the bundle.

    Unlike the agent, which times what a user sees, it neither copies nor waits: its kernels go into the stream that
    PyTorch uses, so that events of CUDA time both in the same way.
    """

    def __init__(self, path: Path, example: Tensor) -> None:
        runtime = agent("tvm_runtime")
        tvm_ffi, signature = runtime.tvm_runtime(), agent("libraries").signature(str(path))
        is_for_gpu = signature.get("device") == "cuda"
        if is_for_gpu:
            runtime.load_gpu_runtime(signature["compute"])
        self._module = tvm_ffi.load_module(str(path))
        self._machine = self._module["vm_load_executable"]()
        places = (runtime.TVM_GPU, 0, runtime.TVM_POOL) if is_for_gpu else ()
        self._machine["vm_initialization"](*places, runtime.TVM_CPU, 0, runtime.TVM_POOL)
        self._main = self._machine["main"]
        self._example = example.contiguous()  # lives as long as what points to it
        self._input = tvm_ffi.from_dlpack(self._example)

    def __call__(self) -> Any:
        """Start a run on the example that it was made with."""
        return self._main(self._input)

    def output(self) -> Tensor:
        """Return the first output of a run, on the processor."""
        made = self()
        if self._example.is_cuda:
            torch.cuda.synchronize()
        first = made[0] if isinstance(made, (list, tuple)) or type(made).__name__ == "Array" else made
        return torch.from_dlpack(first).float().cpu().clone()


def libraries(network: str, batch: int | None, device: str) -> dict[str, Path]:
    """Return the libraries of a network for a device: name, as tables show it -> file.

    Args:
        network: its name.
        batch: None for all.
        device: "cpu" or "cuda".
    """
    found = {}
    for one in bundle()["libraries"]:
        if (one["network"], one["device"]) == (network, device) and batch in (None, one["batch"]):
            name = f"library_{one['precision']}" + ("" if one["graphs"] or device == "cpu" else "_plain")
            found[name if batch is not None else f"{name}_b{one['batch']}"] = ROOT / "libraries" / one["file"]
    return found


def reference(network: str, device: str) -> nn.Module:
    """Return a network in PyTorch, with the weights of its libraries."""
    return with_weights(network, ROOT / "weights" / f"{network}.safetensors").to(device)


def images(network: str, batch: int, device: str) -> Tensor:
    """Return the images that libraries and references run on."""
    return example_input(network, batch).to(device)
