"""Networks compiled ahead for a GPU, kept in build/ until the network or the compiler changes."""

import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from networks import ROOT, example_input, made
from safetensors.torch import save_file

from hwcomp import target
from hwcomp.lowering.tvm import compile_library
from hwcomp.lowering.tvm_cuda import compile_gpu_library
from hwcomp.passes.canonicalize_mean import CanonicalizeMean
from hwcomp.passes.drop_identity import DropIdentity
from hwcomp.passes.flatten_linear import FlattenLinear
from hwcomp.passes.fold_batchnorm import FoldBatchnorm
from hwcomp.program import Program, run_passes
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.stages import Stages
from hwcomp.tracing import trace

COMPUTE, MACHINE = "sm_90a", "x86_64"
CACHE = ROOT / "build" / "gpu"
SOURCES = ("hwcomp/lowering", "hwcomp/sparse_kernels", "passes", "examples/imagenet_shapes")
"""What decides what a library holds, besides the networks' own file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """One library of the bundle.

    Attributes:
        network: its name.
        batch: images in a run.
        precision: of products.
        graphs: whether kernels start as a CUDA graph.
        device: "cuda", or "cpu" for rehearsals.
    """

    network: str
    batch: int
    precision: str = "float32"
    graphs: bool = True
    device: str = "cuda"

    @property
    def file(self) -> str:
        """Name of the file."""
        parts = [self.network, f"b{self.batch}", self.precision, self.device]
        return "-".join([*parts, *([] if self.graphs else ["plain"])]) + ".so"

    def facts(self) -> dict[str, object]:
        """Return what `run.py` reads."""
        return {**asdict(self), "file": self.file}


REHEARSED = Compiled(network="tiny", batch=1, graphs=False, device="cpu")


def wanted(networks: Sequence[str], batches: Sequence[int]) -> list[Compiled]:
    """Return the libraries of a bundle: with CUDA graphs, and of the smallest batch in float16 without them, too.

    Those with equal weights follow each other, where a compressor still remembers the first.
    """
    found = [REHEARSED]
    for network in networks:
        for precision in ("float16", "float32"):
            found += [Compiled(network=network, batch=batch, precision=precision) for batch in sorted(batches)]
        found.insert(-len(batches), Compiled(network=network, batch=min(batches), precision="float16", graphs=False))
    return found


def weights_of(network: str) -> Path:
    """Return the file with the weights of a network."""
    path = CACHE / _key(network) / f"{network}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        save_file(made(network).state_dict(), draft)
        draft.replace(path)
    return path


def library_of(one: Compiled) -> Path:
    """Return the file of a library, compiled if it is not there yet.

    Raises:
        LoweringError: it cannot be compiled.
    """
    path = CACHE / _key(one.network) / one.file
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_bytes(_content(one, _program(one)))
        draft.replace(path)
    return path


def _program(one: Compiled) -> Program:
    traced = trace(made(one.network), (example_input(one.network, one.batch),))
    return run_passes(traced, [DropIdentity(), FoldBatchnorm(), CanonicalizeMean(), FlattenLinear()])


def _content(one: Compiled, program: Program) -> bytes:
    if one.device == "cuda":
        return compile_gpu_library(program, COMPUTE, MACHINE, one.precision, graphs=one.graphs).content
    isa = target.load("host").isa if platform.machine() == MACHINE else ()
    return compile_library(program, vectors_of(isa), 1, Stages(CACHE / "stages"))


def _key(network: str) -> str:
    digest = hashlib.sha256(Path(__file__).with_name("networks.py").read_bytes())
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return f"{network}-{digest.hexdigest()[:12]}"
