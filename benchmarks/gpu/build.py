"""Pack what a GPU machine without network needs to produce every number: `make gpu-bundle`.

    [HWCOMP_CIFAR10=cifar10_jpeg.npz] python benchmarks/gpu/build.py [--networks resnet50 ...] [--batches 1 64]
                                                                    [--python 3.12] [--out build/gpu-bundle.tar.xz]

Libraries are compiled once and kept in build/gpu. One that cannot be compiled is left out, which is printed, stands in
bundle.json, and is an error of the steps that would have used it.
"""

import argparse
import datetime as dt
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from libraries import CACHE, COMPUTE, Compiled, library_of, wanted, weights_of
from networks import NETWORKS, ROOT
from packages import DRIVER, EXPECTED, FFI, SMALL, package_files, tvm_files

from hwcomp.errors import InputError, LoweringError
from hwcomp.lowering.tvm_cuda import check_cuda
from hwcomp.lowering.tvm_cuda_nvcc import check_compute

TOP = "gpu-bundle"
LARGEST_MB = 60.0
TRACKED = ("hwcomp", "passes", "targets", "cost_models", "examples", "benchmarks", "tests", "pyproject.toml",
           "README.md", "LICENSE")  # fmt: skip
IGNORED = ("examples/cifar10/resnet56.safetensors",)
"""Not tracked, and yet wanted where it is there: schedules of ResNet-56 start from it."""

CIFAR = "HWCOMP_CIFAR10"
DATA = "data/cifar10_jpeg.npz"

Files = Iterator[tuple[str, Path]]


def project_files() -> Files:
    """Give the project's files as they lie here.

    Raises:
        InputError: this is not a checkout.
    """
    done = subprocess.run(["git", "ls-files", "-z", *TRACKED], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError(f"{ROOT} is not a checkout of the project ({done.stderr.strip()}); build the bundle in one.")
    for name in [*done.stdout.split("\0"), *IGNORED]:
        if name and ((ROOT / name).is_file() or (ROOT / name).is_symlink()):
            yield name, ROOT / name


def data_files() -> Files:
    """Give the CIFAR-10 archive, if one is named.

    Raises:
        InputError: there is none at that path.
    """
    if CIFAR in os.environ:
        path = Path(os.environ[CIFAR])
        if not path.is_file():
            raise InputError(f"{CIFAR} names {path}, which is not a file; leave it out, or see examples/cifar10.")
        yield DATA, path


def compiled_files(networks: Sequence[str], libraries: Sequence[Compiled], left_out: dict[str, str]) -> Files:
    """Give weights and libraries; put what cannot be compiled, and why, into ``left_out``."""
    for name in ("tiny", *networks):
        yield f"weights/{name}.safetensors", weights_of(name)
    for one in libraries:
        print(f"{one.file} ...", flush=True)
        try:
            yield f"libraries/{one.file}", library_of(one)
        except LoweringError as error:
            left_out[one.file] = str(error)
            print(f"{one.file} is left out: {error}", flush=True)


def python_files(python: str, *, for_gpu: bool) -> Files:
    """Give what is to lie in the path of Python."""
    for name in (FFI, *SMALL, *([DRIVER] if for_gpu else [])):
        for inside, path in package_files(name, python, CACHE / "wheels"):
            yield f"python/{inside}", path
    for inside, path in tvm_files():
        yield f"python/{inside}", path


def facts(python: str, libraries: Sequence[Compiled], left_out: dict[str, str]) -> dict[str, object]:
    """Return what `run.py` must know of the bundle."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return {
        "date": dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
        "commit": commit.strip(),
        "python": python,
        "compute": COMPUTE,
        "tvm": importlib.metadata.version("apache-tvm"),
        "expected": list(EXPECTED),
        "libraries": [one.facts() for one in libraries if one.file not in left_out],
        "left_out": left_out,
    }


def build(options: argparse.Namespace) -> float:
    """Write the bundle that the options describe, and return its size in MB.

    Raises:
        InputError: something cannot be had, or the bundle is too large; then there is none.
        LoweringError: nothing can be compiled for GPUs here.
    """
    networks, out, left_out = options.networks, options.out, dict[str, str]()
    libraries = wanted(networks, options.batches)
    if networks:  # what would leave all of them out is told before anything is packed
        check_cuda()
        check_compute(COMPUTE)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f"{out.name}.{os.getpid()}")
    try:
        with tarfile.open(draft, "w:xz", preset=options.level) as archive:
            compiled = compiled_files(networks, libraries, left_out)
            groups = (project_files(), data_files(), python_files(options.python, for_gpu=bool(networks)), compiled)
            for files in groups:
                for name, path in files:
                    archive.add(path, f"{TOP}/{name}", recursive=False)
            archive.add(Path(__file__).with_name("run.py"), f"{TOP}/run.py")
            text = json.dumps(facts(options.python, libraries, left_out), indent=2).encode()
            member = tarfile.TarInfo(f"{TOP}/bundle.json")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
        size_mb = draft.stat().st_size / 1e6
        if size_mb > options.largest_mb:
            raise InputError(
                f"The bundle takes {size_mb:.1f} MB, more than the {options.largest_mb:g} MB that travel; leave out "
                f"networks (--networks) or CIFAR-10 (unset {CIFAR})."
            )
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return size_mb


def main() -> int:
    """Build, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = [name for name in NETWORKS if name != "tiny"]
    parser.add_argument("--networks", nargs="*", default=choices, choices=choices)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--python", default="3.12", help="version of the GPU machine's Python")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / f"{TOP}.tar.xz")
    parser.add_argument("--level", type=int, default=9, choices=range(10), help="of compression")
    parser.add_argument("--largest-mb", type=float, default=LARGEST_MB)
    options = parser.parse_args()
    try:
        size_mb = build(options)
    except (InputError, LoweringError) as error:
        print(f"gpu-bundle: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {size_mb:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
