"""What the bundle brings for Python: TVM without its compiler, and small packages that a machine may lack."""

import importlib.metadata
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from hwcomp.errors import InputError

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
RUNTIMES = ("libtvm_runtime.so", "libtvm_runtime_cuda.so", "libtvm_runtime_extra.so")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "any")

FFI = "apache-tvm-ffi"
DRIVER = "nvidia-ml-py"
"""Asks the driver for clocks in microseconds; `nvidia-smi`, which serves without it, takes half a second."""

SMALL = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "platformdirs", "pytest", "iniconfig",
         "pluggy")  # fmt: skip
"""Of hwcomp's dependencies those that a machine with PyTorch need not have; its own come first where it has them."""

EXPECTED = ("torch", "numpy", "scipy", "onnx", "onnxruntime", "onnxscript", "accelerate", "networkx", "safetensors",
            "onnx-ir", "rich", "typer", "jinja2", "scikit-learn", "pillow")  # fmt: skip
"""What the machine itself must have; `run.py` says what is missing, and which steps that stops."""

Files = Iterator[tuple[str, Path]]


def tvm_files() -> Files:
    """Give the files of TVM that run libraries: its runtime and its Python files, none of its compiler.

    Raises:
        InputError: a part of the runtime is missing.
    """
    package = find_spec("tvm")
    if package is None or package.origin is None:
        raise InputError("TVM is not installed here; install the package 'apache-tvm'.")
    folder = Path(package.origin).parent
    for path in sorted(folder.rglob("*.py")):
        yield f"tvm/{path.relative_to(folder)}", path
    for name in RUNTIMES:
        if not (folder / "lib" / name).is_file():
            raise InputError(f"TVM's runtime lacks '{name}' in {folder / 'lib'}; install 'apache-tvm' from PyPI.")
        yield f"tvm/lib/{name}", folder / "lib" / name


def package_files(name: str, python: str, cache: Path) -> Files:
    """Give the files of a package for a version of Python: those that are installed if it is this one, else of a wheel.

    Args:
        name: of the package; the version is the installed one's, else the tested one's.
        python: "3.12", say.
        cache: where wheels lie, and are unpacked.

    Raises:
        InputError: the wheel cannot be fetched.
    """
    installed = [one.version for one in importlib.metadata.distributions(name=name)]
    version = installed[0] if installed else _tested(name)
    if installed and python == f"{sys.version_info.major}.{sys.version_info.minor}":
        for file in importlib.metadata.files(name) or []:
            path = Path(str(file.locate()))
            if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                yield str(file), path
        return
    wheel = _wheel(name, version, python, cache)
    folder = cache / "unpacked" / wheel.stem
    if not folder.is_dir():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path


def _tested(name: str) -> str:
    lines = CONSTRAINTS.read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.partition("==")[0] == name)


def _wheel(name: str, version: str, python: str, cache: Path) -> Path:
    start = f"{name.replace('-', '_')}-{version}-"
    kept = cache / python

    def found() -> list[Path]:
        return [path for path in kept.glob("*.whl") if path.name.lower().startswith(start)]

    if not found():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary=:all:", "--python-version", python, "--implementation", "cp",
                   *(part for one in PLATFORMS for part in ("--platform", one)), "--dest", str(kept),
                   f"{name}=={version}"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not found():
            said = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["pip gives no reason"]
            raise InputError(
                f"The wheel of {name} {version} for Python {python} cannot be fetched ({said[0].strip()}): put it into "
                f"{kept}, or build where a package index answers."
            )
    return found()[0]
