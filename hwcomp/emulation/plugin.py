"""Builds the plugin that counts instructions, with the system's C compiler, when its source is new or has changed."""

import hashlib
import os
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

from hwcomp.errors import InputError

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O2", "-shared", "-fPIC", "-fvisibility=hidden")


def build(folder: Path) -> Path:
    """Return the path of the plugin, built if it is not there yet.

    Raises:
        InputError: there is no C compiler, or it fails.
    """
    source = (files("hwcomp.emulation") / "count.c").read_bytes()
    digest = hashlib.sha256(source + " ".join(FLAGS).encode()).hexdigest()[:16]
    path = folder / f"count-{digest}.so"
    if path.is_file():
        return path
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise InputError("The plugin that counts instructions needs a C compiler (cc, gcc or clang); install one.")
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{path.name}.{os.getpid()}"
    command = [compiler, *FLAGS, "-x", "c", "-", "-o", str(partial)]
    done = subprocess.run(command, input=source, capture_output=True, check=False)  # noqa: S603 - no shell reads it
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"The plugin that counts instructions cannot be built by {compiler}: {' '.join(lines[:1])}.")
    partial.replace(path)
    return path
