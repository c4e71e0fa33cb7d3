"""Prepares emulation in the cache folder: qemu, an ARM root with Python, the runtime for ARM, the counting plugin.

Every part is made beside its place and then moved there, so that an interrupted preparation goes on where it was.
"""

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hwcomp.emulation import debian, plugin
from hwcomp.emulation.cores import CORES, Core, write_view
from hwcomp.errors import InputError
from hwcomp.stages import cache_root

QEMU = "qemu-aarch64"
QEMU_PACKAGES = ("qemu-user",)
GUEST_PACKAGES = ("python3", "libstdc++6", "libgomp1")
WHEEL_TAGS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_24_aarch64", "manylinux2014_aarch64")
FOLDER = "emulation"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Emulator:
    """Everything that is needed to run the runtime on an emulated core.

    Attributes:
        root: folder that all of it is in.
        qemu: the emulator.
        libraries: folders with the emulator's libraries that the system does not have.
        python: of the guest, in ``root``.
        site: folder with the guest's packages.
        plugin: that counts.
    """

    root: Path
    qemu: Path
    libraries: tuple[Path, ...]
    python: Path
    site: Path
    plugin: Path

    def command(self, kind: Core, counts: Path, *arguments: str, packages: tuple[Path, ...] = ()) -> list[str]:
        """Return the command that runs the guest's Python on a core; counts are appended to a file."""
        path = ":".join(map(str, (*packages, self.site)))
        guest = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        variables = [part for name, value in guest.items() for part in ("-E", f"{name}={value}")]
        return [
            str(self.qemu), "-cpu", kind.name, "-L", str(self.root / "cores" / kind.name), "-U", "LD_LIBRARY_PATH",
            *variables, "-plugin", f"{self.plugin},out={counts}", str(self.python), *arguments,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return the emulator's environment; little of it, because its size moves the guest's stack."""
        return {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": ":".join(map(str, self.libraries))}


def runtime_version() -> str:
    """Return the version of ONNX Runtime here, which is the one that is emulated."""
    return importlib.metadata.version("onnxruntime")


def find() -> Emulator:
    """Return the emulator that `prepare` made.

    Raises:
        InputError: it is not prepared, or for another version of ONNX Runtime; or the plugin cannot be built.
    """
    root = cache_root() / FOLDER
    found = _qemu(root), _python(root / "guest")
    site = root / _site_name(found[1])
    if found[0] is None or found[1] is None or not site.is_dir():
        raise InputError(
            f"Emulation of ONNX Runtime {runtime_version()} on ARM is not prepared; run `hwcomp setup emulation` once."
        )
    for kind in CORES.values():
        write_view(kind, root / "guest", root / "cores" / kind.name)
    return Emulator(
        root=root,
        qemu=found[0],
        libraries=tuple(sorted((root / "qemu").glob("usr/lib/*-linux-gnu"))),
        python=found[1],
        site=site,
        plugin=plugin.build(root),
    )


def prepare(say: Say, sources: Path | None = None) -> Emulator:
    """Prepare what is missing, and return the emulator.

    Args:
        say: told in one line each what is being done.
        sources: file of package sources to use in place of the system's.

    Raises:
        InputError: something is missing here; the sentence says what.
    """
    if platform.system() != "Linux":
        raise InputError(
            f"Emulation needs Linux; this is {platform.system()}: use `--device ssh://...` with a real board."
        )
    if sources is not None and (not sources.is_file() or sources.suffix not in (".list", ".sources")):
        raise InputError(f"'{sources}' is no file of package sources that ends in .list or .sources.")
    root = cache_root() / FOLDER
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root, say):
            _prepare_qemu(root, say, sources)
            _prepare_guest(root, say, sources)
            _prepare_site(root, say)
    except OSError as error:
        raise InputError(
            f"Emulation cannot be prepared in '{root}': {error.strerror or error}; make room (about 300 MB), or set "
            "HWCOMP_CACHE to another folder."
        ) from error
    emulator = find()
    _check(emulator, say)
    return emulator


@contextlib.contextmanager
def _alone(root: Path, say: Say) -> Iterator[None]:
    """Hold off other processes that prepare the same folder."""
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that prepares emulation")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _made(path: Path) -> Iterator[Path]:
    """Make a folder under another name, and move it to its place when it is complete."""
    partial = path.with_name(f"{path.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    partial.replace(path)


def _qemu(root: Path) -> Path | None:
    """Return the emulator: the system's if it takes plugins, else the one that was fetched."""
    installed, fetched = shutil.which(QEMU), root / "qemu" / "usr" / "bin" / QEMU
    if installed is not None:
        shown = subprocess.run([installed, "--help"], capture_output=True, text=True, check=False)  # noqa: S603
        if "-plugin" in shown.stdout:
            return Path(installed)
    return fetched if fetched.is_file() else None


def _python(guest: Path) -> Path | None:
    found = [path for path in guest.glob("usr/bin/python3.*") if path.name.removeprefix("python3.").isdigit()]
    return max(found, key=lambda path: int(path.name.removeprefix("python3.")), default=None)


def _site_name(python: Path | None) -> str:
    return f"site-{python.name if python else ''}-onnxruntime-{runtime_version()}"


def _prepare_qemu(root: Path, say: Say, sources: Path | None) -> None:
    found = _qemu(root)
    if found is not None:
        say(f"emulator: {found}")
        return
    say("emulator: fetching qemu-user (13 MB)")
    packages = debian.Packages(
        root=root / "apt-qemu", architecture=debian.architecture(), installed=sources is None, sources=sources
    )
    with _made(root / "qemu") as folder:
        packages.unpack(QEMU_PACKAGES, folder)
        for path in (folder / "usr" / "bin").iterdir():
            if path.name != QEMU:
                path.unlink()  # emulators of other machines, 90 MB


def _prepare_guest(root: Path, say: Say, sources: Path | None) -> None:
    guest = root / "guest"
    if _python(guest) is None:
        say("guest: fetching Python for ARM (16 MB)")
        packages = debian.Packages(root=root / "apt-guest", architecture="arm64", installed=False, sources=sources)
        with _made(guest) as folder:
            packages.unpack(GUEST_PACKAGES, folder)
            for name in ("bin", "lib", "sbin"):
                if not (folder / name).exists():  # where a release has moved them
                    (folder / name).symlink_to(Path("usr") / name)
    say(f"guest: {_python(guest)}")


def _prepare_site(root: Path, say: Say) -> None:
    python = _python(root / "guest")
    site = root / _site_name(python)
    if not site.is_dir():
        say(f"runtime: fetching ONNX Runtime {runtime_version()} and numpy for ARM (40 MB)")
        with _made(site) as folder:
            fetch_wheels(root, folder, [f"onnxruntime=={runtime_version()}", "numpy"])
    say(f"runtime: {site}")


def fetch_wheels(root: Path, folder: Path, names: list[str]) -> None:
    """Fetch packages for the guest's Python, without what they depend on.

    Raises:
        InputError: pip is missing, or finds none.
    """
    python = _python(root / "guest")
    assert python is not None
    if importlib.util.find_spec("pip") is None:
        raise InputError(f"'{sys.executable}' has no pip to fetch packages with; run `{sys.executable} -m ensurepip`.")
    tags = [part for tag in WHEEL_TAGS for part in ("--platform", tag)]
    version = python.name.removeprefix("python").replace(".", "")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--implementation", "cp", "--python-version", version, *tags,
               "--target", str(folder), *names]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell reads it
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        said = errors[-1].removeprefix("ERROR:").strip() if errors else f"exit code {done.returncode}"
        raise InputError(f"pip found no {' and '.join(names)} for {python.name} on ARM ({said}); check the network.")


def _check(emulator: Emulator, say: Say) -> None:
    """Load the runtime on every core, as the first real use would."""
    code = "import onnxruntime, platform; print(onnxruntime.__version__, platform.machine())"
    for kind in CORES.values():
        command = emulator.command(kind, Path("/dev/null"), "-c", code)
        done = subprocess.run(  # noqa: S603 - no shell reads it
            command, capture_output=True, text=True, check=False, env=emulator.environment()
        )
        if done.stdout.split() != [runtime_version(), "aarch64"]:
            lines = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
            if "unable to find CPU model" in done.stderr:
                say(f"check: this emulator does not know {kind.name}")
                continue
            raise InputError(f"ONNX Runtime does not start on an emulated {kind.name}: {lines[-1]}.")
        say(f"check: ONNX Runtime {runtime_version()} starts on an emulated {kind.name}")
