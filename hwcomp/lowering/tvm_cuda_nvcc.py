"""NVIDIA's compiler: CUDA C++ becomes machine code of a GPU."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from hwcomp.errors import LoweringError

FOLDERS = ("/usr/local/cuda/bin",)
"""Where NVIDIA's installer puts the compiler, besides what ``PATH`` and ``CUDA_PATH`` name."""

FLAGS = ("-O3", "-std=c++17", "-U__CUDA_NO_HALF_OPERATORS__", "-U__CUDA_NO_HALF_CONVERSIONS__")
"""Without ``--use_fast_math``: its tanh is right to three digits only."""


def compiler() -> str:
    """Return the path of nvcc.

    Raises:
        LoweringError: there is none; the sentence names the package that has it.
    """
    home = os.environ.get("CUDA_PATH")
    places = os.pathsep.join([*([str(Path(home) / "bin")] if home else []), *FOLDERS])
    found = shutil.which("nvcc") or shutil.which("nvcc", path=places)
    if found is None:
        raise LoweringError(
            "Kernels for NVIDIA GPUs need NVIDIA's compiler nvcc, and it is neither in PATH nor in CUDA_PATH: install "
            "the Debian package 'nvidia-cuda-toolkit', or 'cuda-nvcc' from NVIDIA."
        )
    return found


def check_compute(compute: str) -> None:
    """See that nvcc knows an architecture, before minutes of work.

    Raises:
        LoweringError: it does not, or there is none.
    """
    cubin('extern "C" __global__ void nothing() {}', compute)


def cubin(source: str, compute: str) -> bytes:
    """Return CUDA C++ as machine code of one architecture.

    Args:
        source: of the kernels.
        compute: "sm_90a", say.

    Raises:
        LoweringError: nvcc refuses the architecture or the code, or there is none.
    """
    nvcc, number = compiler(), compute.removeprefix("sm_")
    with tempfile.TemporaryDirectory(prefix="hwcomp-nvcc-") as name:
        folder = Path(name)
        (folder / "kernels.cu").write_text(source)
        architecture = f"-gencode=arch=compute_{number},code=sm_{number}"
        command = [nvcc, "-cubin", architecture, *FLAGS, "-o", "kernels.cubin", "kernels.cu"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
        if done.returncode != 0:
            raise LoweringError(f"{nvcc} cannot compile for {compute}: {_reason(done.stderr or done.stdout)}.")
        return (folder / "kernels.cubin").read_bytes()


def _reason(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if "error" in line or "fatal" in line]
    return (told or lines or ["it gives no reason"])[0].rstrip(".")
