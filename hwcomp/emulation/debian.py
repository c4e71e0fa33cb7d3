"""Fetches Debian packages without root and without touching the system: a package index and a cache of its own.

The system's package sources and keys are used as they are, so mirrors and proxies that are set up there serve here too.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwcomp.errors import InputError

INSTALLED = Path("/var/lib/dpkg/status")
TIMEOUT_S = 900
TOOLS = ("apt-get", "dpkg-deb", "dpkg")

SETTINGS = """\
Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{status}";
Dir::Cache "{root}/cache";
Dir::Cache::archives "{root}/cache/archives";
Debug::NoLocking "1";
APT::Sandbox::User "";
APT::Install-Recommends "0";
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
Acquire::Languages "none";
Acquire::Retries "2";
"""
"""The hooks of `apt-get update` are for the system's own index, and would touch it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packages:
    """Packages of one architecture.

    Attributes:
        root: folder of the index and the cache.
        architecture: as Debian names it.
        installed: whether what the system has installed needs no fetching; it must be of the same architecture.
        sources: file of package sources to use in place of the system's; it ends in ``.list`` or ``.sources``.
    """

    root: Path
    architecture: str
    installed: bool
    sources: Path | None = None

    def unpack(self, names: Sequence[str], folder: Path) -> None:
        """Fetch packages with everything that they depend on, and unpack them into a folder.

        Raises:
            InputError: the tools are missing, or the sources cannot be reached or do not have the packages.
        """
        missing = next((tool for tool in TOOLS if shutil.which(tool) is None), None)
        if missing is not None:
            raise InputError(
                f"Emulation is prepared from Debian packages, and '{missing}' is not here: use a Debian or Ubuntu "
                "system, or leave out `--device emulated` (the roofline needs no device)."
            )
        archives = self.root / "cache" / "archives"
        for path in (self.root / "lists" / "partial", archives / "partial"):
            path.mkdir(parents=True, exist_ok=True)
        settings = self._write_settings()
        # One of several sources may fail, or have nothing for this architecture; what matters is whether packages come.
        updated = self._apt(settings, "update")
        fetched = self._apt(settings, "install", "--yes", "--download-only", *names)
        if fetched.returncode != 0:
            raise InputError(self._complaint(names, (fetched, updated)))
        folder.mkdir(parents=True, exist_ok=True)
        for archive in sorted(archives.glob("*.deb")):
            _run("dpkg-deb", "--extract", str(archive), str(folder))
        shutil.rmtree(self.root, ignore_errors=True)

    def _write_settings(self) -> Path:
        nothing = self.root / "nothing"
        nothing.write_text("")
        status = INSTALLED if self.installed else nothing
        text = SETTINGS.format(root=self.root, status=status, architecture=self.architecture)
        if self.sources is not None:
            text += f'Dir::Etc::sourcelist "{self.sources.resolve()}";\nDir::Etc::sourceparts "/dev/null";\n'
        path = self.root / "apt.conf"
        path.write_text(text)
        return path

    def _apt(self, settings: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return _run("apt-get", "--config-file", str(settings), "--quiet", *arguments, required=False)

    def _complaint(self, names: Sequence[str], runs: Sequence["subprocess.CompletedProcess[str]"]) -> str:
        lines = [line for run in runs for line in run.stderr.splitlines() if line.startswith(("E:", "W:", "Err:"))]
        said = lines[0].partition(":")[2].strip() if lines else f"exit code {runs[0].returncode}"
        return (
            f"The package sources gave no {', '.join(names)} for {self.architecture} (apt-get: {said}); check the "
            "network, or give a sources file of a Debian release that has them with --sources."
        )


def architecture() -> str:
    """Return the system's own architecture, as Debian names it; empty if this is no Debian system."""
    with contextlib.suppress(OSError):
        return _run("dpkg", "--print-architecture", required=False).stdout.strip()
    return ""


def _run(*command: str, required: bool = True) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603 - no shell reads it
            command, capture_output=True, text=True, check=required, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"'{command[0]}' took longer than {TIMEOUT_S} s; check the network and try again.") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["nothing"])[0]
        raise InputError(
            f"'{command[0]}' failed ({said}); make room on the disk if it is full, and try again."
        ) from error
