"""What is needed to run the runtime on an emulated core, as `hwcomp.emulation.setup` prepares it."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from hwcomp.emulation import plugin
from hwcomp.emulation.cores import CORES, Core, write_view
from hwcomp.emulation.qemu import Qemu, find_qemu
from hwcomp.errors import InputError
from hwcomp.stages import cache_root

FOLDER = "emulation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Emulator:
    """Everything that is needed to run the runtime on an emulated core.

    Attributes:
        root: folder that all of it is in.
        qemu: the emulator.
        python: of the guest, in ``root``.
        site: folder with the guest's packages.
        plugin: that counts.
    """

    root: Path
    qemu: Qemu
    python: Path
    site: Path
    plugin: Path

    def command(self, kind: Core, counts: Path, *arguments: str, packages: tuple[Path, ...] = ()) -> list[str]:
        """Return the command that runs the guest's Python on a core; counts are appended to a file."""
        path = ":".join(map(str, (*packages, self.site, tvm_site(self.root, self.python))))
        guest = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        variables = [part for name, value in guest.items() for part in ("-E", f"{name}={value}")]
        return [
            *self.qemu.command, "-cpu", kind.name, "-L", str(self.root / "cores" / kind.name), "-U", "LD_LIBRARY_PATH",
            *variables, "-plugin", f"{self.plugin},out={counts}", str(self.python), *arguments,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return the emulator's environment; little of it, because its size moves the guest's stack."""
        return {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": ":".join(map(str, self.qemu.libraries))}


def runtime_version() -> str:
    """Return the version of ONNX Runtime here, which is the one that is emulated."""
    return importlib.metadata.version("onnxruntime")


def find() -> Emulator:
    """Return the emulator that `prepare` made.

    Raises:
        InputError: it is not prepared, or for another version of ONNX Runtime; or the plugin cannot be built.
    """
    root = cache_root() / FOLDER
    python = guest_python(root / "guest")
    site = root / site_name(python)
    counting = plugin.build(root) if python is not None and site.is_dir() else None
    emulator = find_qemu(root, counting) if counting is not None else None
    if python is None or counting is None or emulator is None:
        raise InputError(
            f"Emulation of ONNX Runtime {runtime_version()} on ARM is not prepared; run `hwcomp setup emulation` once."
        )
    for kind in CORES.values():
        write_view(kind, root / "guest", root / "cores" / kind.name)
    return Emulator(
        root=root,
        qemu=emulator,
        python=python,
        site=site,
        plugin=counting,
    )


def tvm_version() -> str:
    """Return the version of TVM here, whose runtime is emulated."""
    return importlib.metadata.version("apache-tvm")


def tvm_site(root: Path, python: Path | None) -> Path:
    """Return the folder of TVM's runtime for a guest's Python; it is there once `hwcomp setup tvm` has run."""
    return root / f"site-{python.name if python else ''}-tvm-{tvm_version()}"


def guest_python(guest: Path) -> Path | None:
    """Return the newest Python in a guest's root folder; None if there is none."""
    found = [path for path in guest.glob("usr/bin/python3.*") if path.name.removeprefix("python3.").isdigit()]
    return max(found, key=lambda path: int(path.name.removeprefix("python3.")), default=None)


def site_name(python: Path | None) -> str:
    """Return the name of the folder of packages for a Python and the version of ONNX Runtime that is here."""
    return f"site-{python.name if python else ''}-onnxruntime-{runtime_version()}"
