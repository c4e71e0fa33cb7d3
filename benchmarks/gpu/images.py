"""CIFAR-10 for the trainings: the bundle's archive, or in a rehearsal a few images of noise."""

import io
import os
from pathlib import Path

import numpy as np
from case import Setting
from cases import ROOT

from hwcomp.errors import InputError
from hwcomp.workload import Workload, load_workload

CIFAR = "HWCOMP_CIFAR10"
BROUGHT = ROOT / "data" / "cifar10_jpeg.npz"


def workload(setting: Setting, model: str) -> Workload:
    """Return a network of examples/cifar10 with its data.

    Raises:
        InputError: there is no archive.
    """
    if setting.rehearse:
        os.environ[CIFAR] = str(_noise(setting.out / "noise.npz"))
    elif BROUGHT.is_file():
        os.environ.setdefault(CIFAR, str(BROUGHT))
    elif CIFAR not in os.environ:
        raise InputError(f"The bundle has no CIFAR-10; set {CIFAR} here, or when the bundle is built.")
    return load_workload(f"{ROOT}/examples/cifar10/model.py:{model}")


def _noise(path: Path) -> Path:
    """Write an archive of noise, as examples/cifar10/README.md describes it."""
    from PIL import Image

    random, arrays = np.random.default_rng(0), {}
    for split, count in {"train": 512, "test": 256}.items():
        files = []
        for _ in range(count):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(file, "JPEG")
            files.append(file.getvalue())
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{split}_offsets"] = np.cumsum([0, *map(len, files)], dtype=np.int64)
        arrays[f"{split}_labels"] = random.integers(0, 10, count).astype(np.uint8)
    np.savez(path, **arrays)
    return path
