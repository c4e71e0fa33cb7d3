"""The output folder: ``model.onnx`` (for TVM ``model.so``), ``manifest.json``, ``report.html``, ``program/``.

Plain ONNX Runtime loads the model, one with sparse layers after ``register_custom_ops_library("kernels.so")``; plain
PyTorch and safetensors load the program, to train it further.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from hwcomp.errors import InputError
from hwcomp.lowering.embedded import extract
from hwcomp.manifest import SCHEMA_VERSION, Manifest
from hwcomp.stages import write_atomically

MODEL, MANIFEST, REPORT = "model.onnx", "manifest.json", "report.html"

LIBRARY, TVM = "model.so", "tvm"
"""The model of an artifact for TVM, and how the manifest names that runtime."""
KERNELS = "kernels.so"
"""Library of sparse kernels; only where the model needs it, see `hwcomp.lowering.embedded`."""


def prepare(folder: Path, *, force: bool) -> Path:
    """Make sure that a folder can become an artifact, before any work is done.

    Raises:
        InputError: it holds something that hwcomp did not write (unless forced), or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file; give another --out.")
    if folder.is_dir() and any(folder.iterdir()) and not is_ours(folder) and not force:
        raise InputError(
            f"'{folder}' exists and was not written by hwcomp; give another --out, or --force to write into it."
        )
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".hwcomp-probe"
        probe.write_bytes(b"")
        probe.unlink()
        for path in missing:  # nothing is left behind by a run that fails later
            path.rmdir()
    except OSError as error:
        raise InputError(f"'{folder}' cannot be written to: {error.strerror or error}; give another --out.") from error
    return folder


def is_ours(folder: Path) -> bool:
    """Return whether hwcomp wrote a folder, by its manifest."""
    try:
        return "schema_version" in json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return False


def model_name(manifest: Manifest) -> str:
    """Return the name of the file that an artifact's runtime runs."""
    return LIBRARY if manifest.runtime.name == TVM else MODEL


def write(
    folder: Path, model: bytes, program: Mapping[str, bytes], manifest: Manifest, render: Callable[[Manifest], str]
) -> Manifest:
    """Write an artifact, the manifest last, and return the manifest with the hash of the model.

    Args:
        folder: from `prepare`.
        model: the ONNX file, or the library.
        program: further files by their path in the folder.
        manifest: without hashes.
        render: makes the report of the complete manifest.

    Raises:
        InputError: the disk is full or read-only; what was there before is still whole.
    """
    name = model_name(manifest)
    complete = manifest.model_copy(update={"files": {name: hashlib.sha256(model).hexdigest()}})
    kernels = extract(model)
    contents = {name: model, **program, REPORT: render(complete).encode()}
    contents |= {} if kernels is None else {KERNELS: kernels}
    try:
        if kernels is None:  # of a model that was here before
            (folder / KERNELS).unlink(missing_ok=True)
        for path, content in contents.items():
            write_atomically(folder / path, content)
        (folder / (MODEL if name == LIBRARY else LIBRARY)).unlink(missing_ok=True)  # of an artifact that was here
        write_atomically(folder / MANIFEST, complete.model_dump_json(indent=2).encode())
    except OSError as error:
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        raise InputError(
            f"'{folder}' cannot be written: {error.strerror or error} ({free // 2**20} MB free); "
            "make room or give another --out; finished stages are kept."
        ) from error
    return complete


def read(folder: Path) -> Manifest:
    """Read and check the manifest of an artifact.

    Raises:
        InputError: there is none, or it is damaged, or of a newer version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"'{folder}' is not an artifact: it has no {MANIFEST}.")
    try:
        data = json.loads(path.read_text())
        if isinstance(data, dict) and isinstance(data.get("schema_version"), int):
            version = data["schema_version"]
            if version > SCHEMA_VERSION:
                raise InputError(
                    f"'{path}' is of schema version {version}, newer than this hwcomp knows ({SCHEMA_VERSION}): "
                    "update hwcomp."
                )
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"'{path}' is damaged: field '{where}': {first['msg']}; compile again.") from error
    except (ValueError, OSError) as error:
        raise InputError(f"'{path}' is damaged ({error}); compile again.") from error


def model_path(folder: Path) -> Path:
    """Return the path of an artifact's model after checking it against the manifest.

    Raises:
        InputError: it is missing or is not the file that was written.
    """
    manifest = read(folder)
    path = folder / model_name(manifest)
    if not path.is_file():
        raise InputError(f"'{folder}' has no {path.name}; compile again.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != manifest.files.get(path.name):
        raise InputError(f"'{path}' is damaged: it is not the file that the manifest describes; compile again.")
    return path
