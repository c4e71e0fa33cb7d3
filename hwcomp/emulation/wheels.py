"""Fetches Python packages for the guest from the package index that pip uses here."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from hwcomp.emulation.emulator import guest_python
from hwcomp.errors import InputError

TAGS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_24_aarch64", "manylinux2014_aarch64")


def fetch_wheels(root: Path, folder: Path, names: list[str]) -> None:
    """Fetch packages for the guest's Python, without what they depend on.

    Raises:
        InputError: pip is missing, or finds none.
    """
    python = guest_python(root / "guest")
    assert python is not None
    if importlib.util.find_spec("pip") is None:
        raise InputError(f"'{sys.executable}' has no pip to fetch packages with; run `{sys.executable} -m ensurepip`.")
    tags = [part for tag in TAGS for part in ("--platform", tag)]
    version = python.name.removeprefix("python").replace(".", "")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--implementation", "cp", "--python-version", version, *tags,
               "--target", str(folder), *names]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell reads it
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        said = errors[-1].removeprefix("ERROR:").strip() if errors else f"exit code {done.returncode}"
        raise InputError(f"pip found no {' and '.join(names)} for {python.name} on ARM ({said}); check the network.")
