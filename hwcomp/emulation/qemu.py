"""Finds or fetches an emulator that takes our plugin: qemu-user, linked dynamically, with interface 1 of plugins."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hwcomp.emulation import debian

PROGRAM = "qemu-aarch64"
PACKAGES = ("qemu-user",)
NO_PROGRAM = "/hwcomp-no-such-program"


@dataclass(frozen=True, kw_only=True, slots=True)
class Qemu:
    """An emulator.

    Attributes:
        command: what starts it.
        libraries: folders with libraries of its own that the system does not have.
    """

    command: tuple[str, ...]
    libraries: tuple[Path, ...] = ()

    def takes(self, plugin: Path) -> bool:
        """Return whether it loads the plugin, which then makes its file, whatever becomes of the program."""
        environment = {"LD_LIBRARY_PATH": ":".join(map(str, self.libraries))}
        with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
            made = Path(folder) / "counts"
            command = [*self.command, "-plugin", f"{plugin},out={made}", NO_PROGRAM]
            subprocess.run(  # noqa: S603 - no shell reads it
                command, capture_output=True, check=False, env=environment, stdin=subprocess.DEVNULL
            )
            return made.exists()


def find_qemu(root: Path, plugin: Path) -> Qemu | None:
    """Return the system's emulator if it takes the plugin, else the one that was fetched below ``root``, if it does."""
    installed = shutil.which(PROGRAM)
    candidates = [Qemu(command=(installed,))] if installed is not None else []
    program = root / "qemu" / "usr" / "bin" / PROGRAM
    if program.is_file():
        candidates.append(_fetched(root / "qemu", program))
    return next((candidate for candidate in candidates if candidate.takes(plugin)), None)


def fetch_qemu(scratch: Path, folder: Path, sources: Path | None) -> None:
    """Fetch the emulator into a folder, with libraries that the system lacks; with all, if it is another release's.

    Raises:
        InputError: it cannot be fetched.
    """
    packages = debian.Packages(
        root=scratch, architecture=debian.architecture(), installed=sources is None, sources=sources
    )
    packages.unpack(PACKAGES, folder)
    for path in (folder / "usr" / "bin").iterdir():
        if path.name != PROGRAM:
            path.unlink()  # emulators of other machines, 90 MB


def _fetched(folder: Path, program: Path) -> Qemu:
    libraries = tuple(sorted({path.parent for path in folder.glob("**/*-linux-gnu/*.so.*")}))
    loaders = sorted(folder.glob("**/*-linux-gnu/ld-linux-*.so.*"))
    if not loaders:
        return Qemu(command=(str(program),), libraries=libraries)
    # another release's C library works only with its own loader
    return Qemu(command=(str(loaders[0]), "--library-path", ":".join(map(str, libraries)), str(program)))
