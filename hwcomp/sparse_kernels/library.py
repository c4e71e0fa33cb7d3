"""Builds the library of operators that ONNX Runtime loads, with a C compiler, when its source is new or has changed."""

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from hwcomp.errors import HwcompError, LoweringError
from hwcomp.sparse_kernels.compilers import compiler_for
from hwcomp.sparse_kernels.tir_build import Vectors, vectors_of
from hwcomp.stages import cache_root

FOLDER = "kernels"
NATIVE = ("cc", "gcc", "clang")
SUBJECT = "Sparse kernels"
REFERENCE = "microkernels_reference.c"
FLAGS = (
    "-std=c11",
    "-O3",
    "-fno-math-errno",
    "-ffp-contract=fast",
    "-fPIC",
    "-fvisibility=hidden",
    "-shared",
    "-Wl,-z,defs",
)
"""NaN and the order of sums are kept; a product and a sum may be rounded once."""

NEEDS = {
    "x86-64-v4": ("avx2", "fma", "bmi1", "bmi2", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "x86-64-v3": ("avx2", "fma", "bmi1", "bmi2"),
}
"""What every processor of a kind has beyond the machine's oldest, as the Linux kernel names it."""


def build(vectors: Vectors, objects: Sequence[bytes] = ()) -> Path:
    """Return the path of the library, built if it is not there yet.

    Args:
        vectors: what it is built for; another machine than this one needs a cross compiler.
        objects: object files with the inner loops (see ``microkernels.h``), in place of those that are written in C.

    Raises:
        LoweringError: there is no C compiler for that machine, or it fails.
    """
    machine = vectors.triple.partition("-")[0]
    compiler = compiler_for(machine, SUBJECT, NATIVE)
    flags = [*FLAGS, *_machine_flags(vectors, machine)]
    sources = {
        entry.name: entry.read_bytes()
        for entry in sorted(files("hwcomp.sparse_kernels").iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith((".c", ".h")) and not (objects and entry.name == REFERENCE)
    }
    inputs = sources | {f"inner{index}.o": content for index, content in enumerate(objects)}
    path = cache_root() / FOLDER / f"{_digest(compiler, flags, inputs)}.so"
    if not path.is_file():
        _compile(compiler, flags, inputs, path)
    return path


def why_unavailable(isa: Sequence[str]) -> str | None:
    """Return why the library cannot be built for an instruction set, or None if it can."""
    try:
        compiler_for(vectors_of(isa).triple.partition("-")[0], SUBJECT, NATIVE)
    except HwcompError as error:
        return str(error)
    return None


def _machine_flags(vectors: Vectors, machine: str) -> list[str]:
    march = vectors.cpu if machine == "x86_64" else "armv8-a"
    needs = ",".join(NEEDS.get(vectors.cpu, ()))
    return [f"-march={march}", f"-DHWCOMP_LANES={vectors.lanes}", f'-DHWCOMP_ISA="{needs}"']


def _digest(compiler: str, flags: Sequence[str], inputs: dict[str, bytes]) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False)  # noqa: S603 - no shell reads it
    state = hashlib.sha256()
    for part in (version.stdout, " ".join(flags).encode(), *(x for pair in inputs.items() for x in pair)):
        content = part.encode() if isinstance(part, str) else part
        state.update(len(content).to_bytes(8, "little") + content)
    return state.hexdigest()[:24]


def _compile(compiler: str, flags: Sequence[str], inputs: dict[str, bytes], path: Path) -> None:
    """Compile beside the place where it belongs, so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as name:
        folder = Path(name)
        for file, content in inputs.items():
            (folder / file).write_bytes(content)
        units = [file for file in inputs if file.endswith((".c", ".o"))]
        command = [compiler, *flags, *units, "-o", path.name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if "error" in line or "undefined" in line]
            raise LoweringError(f"{compiler} cannot build the sparse kernels: {(lines or ['it gives no reason'])[0]}.")
        (folder / path.name).replace(path)
