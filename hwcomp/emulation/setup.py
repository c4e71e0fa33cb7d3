"""Prepares emulation in the cache folder: qemu, an ARM root with Python, the runtime for ARM, the counting plugin.

Every part is made beside its place and then moved there, so that an interrupted preparation goes on where it was.
"""

import contextlib
import fcntl
import importlib.metadata
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from hwcomp.emulation import debian, plugin
from hwcomp.emulation.cores import CORES, Core
from hwcomp.emulation.emulator import (
    FOLDER,
    Emulator,
    find,
    guest_python,
    runtime_version,
    site_name,
    tvm_site,
    tvm_version,
)
from hwcomp.emulation.qemu import fetch_qemu, find_qemu
from hwcomp.emulation.wheels import fetch_wheels
from hwcomp.errors import InputError
from hwcomp.stages import cache_root

RUNTIME = "libtvm_runtime.so"
GUEST_PACKAGES = ("python3", "libstdc++6", "libgomp1")

Say = Callable[[str], None]


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


def prepare_tvm(say: Say, sources: Path | None = None) -> Emulator:
    """Prepare emulation, and TVM's runtime in it, without the compiler; raises as `prepare` does."""
    emulator = prepare(say, sources)
    site = tvm_site(emulator.root, emulator.python)
    with _alone(emulator.root, say):
        if not site.is_dir():
            say(f"runtime: fetching TVM {tvm_version()} for ARM (95 MB, of which 70 are kept)")
            names = [f"apache-tvm=={tvm_version()}", f"apache-tvm-ffi=={importlib.metadata.version('apache-tvm-ffi')}"]
            with _made(site) as folder:
                fetch_wheels(emulator.root, folder, [*names, "typing-extensions"])
                for path in (folder / "tvm" / "lib").glob("*.so"):
                    if path.name != RUNTIME:
                        path.unlink()
    say(f"runtime: {site}")
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


def _prepare_qemu(root: Path, say: Say, sources: Path | None) -> None:
    counting = plugin.build(root)
    if find_qemu(root, counting) is None:
        say("emulator: fetching qemu-user (13 MB)")
        with _made(root / "qemu") as folder:
            fetch_qemu(root / "apt-qemu", folder, sources)
    found = find_qemu(root, counting)
    if found is None:
        shutil.rmtree(root / "qemu")
        raise InputError(
            "The qemu-user of this system's package sources takes no plugins, or none of interface 1; give a sources "
            "file of a release whose one does, such as Debian 12, with --sources."
        )
    say(f"emulator: {found.command[-1]}")


def _prepare_guest(root: Path, say: Say, sources: Path | None) -> None:
    guest = root / "guest"
    if guest_python(guest) is None:
        say("guest: fetching Python for ARM (16 MB)")
        packages = debian.Packages(root=root / "apt-guest", architecture="arm64", installed=False, sources=sources)
        with _made(guest) as folder:
            packages.unpack(GUEST_PACKAGES, folder)
            for name in ("bin", "lib", "sbin"):
                if not (folder / name).exists():  # where a release has moved them
                    (folder / name).symlink_to(Path("usr") / name)
    say(f"guest: {guest_python(guest)}")


def _prepare_site(root: Path, say: Say) -> None:
    python = guest_python(root / "guest")
    site = root / site_name(python)
    if not site.is_dir():
        say(f"runtime: fetching ONNX Runtime {runtime_version()} and numpy for ARM (40 MB)")
        with _made(site) as folder:
            fetch_wheels(root, folder, [f"onnxruntime=={runtime_version()}", "numpy"])
    say(f"runtime: {site}")


def _check(emulator: Emulator, say: Say) -> None:
    """Load the runtime on every core, as the first real use would; once for each combination of parts."""
    passed = emulator.root / f"checked-{emulator.plugin.stem}-{emulator.site.name}"
    if passed.is_file():
        say(f"check: {passed.read_text()}")
        return
    works = [kind.name for kind in CORES.values() if _starts(emulator, kind)]
    text = f"ONNX Runtime {runtime_version()} starts on an emulated {', '.join(works)}"
    say(f"check: {text}")
    passed.write_text(text)


def _starts(emulator: Emulator, kind: Core) -> bool:
    """Return whether the runtime starts on a core; False if the emulator is too old to know it."""
    code = "import onnxruntime, platform; print(onnxruntime.__version__, platform.machine())"
    done = subprocess.run(  # noqa: S603 - no shell reads it
        emulator.command(kind, Path("/dev/null"), "-c", code),
        capture_output=True, text=True, check=False, env=emulator.environment(),
    )  # fmt: skip
    if done.stdout.split() != [runtime_version(), "aarch64"]:
        if "unable to find CPU model" in done.stderr:
            return False
        lines = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
        raise InputError(f"ONNX Runtime does not start on an emulated {kind.name}: {lines[-1]}.")
    return True
