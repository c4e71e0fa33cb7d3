"""A real ssh server on this machine, and an environment with what an agent needs behind it."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
PRIVILEGE_SEPARATION = Path("/run/sshd")
MISSING = SSHD is None or shutil.which("ssh") is None
REASON = "no OpenSSH server and client here; .ci/run installs them"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def children(parent: int) -> list[int]:
    """Return the processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something holds; the limit is only for when it never will."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


@dataclass
class Server:
    """An ssh server with its own keys, that lets one key in and keeps its temporary files to itself."""

    folder: Path
    more: str = ""
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.temporary.mkdir()
        key(self.folder / "host")
        key(self.folder / "user")
        shutil.copy(self.folder / "user.pub", self.folder / "authorized")
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder}/authorized\nStrictModes no\nUsePAM no\n"
            f"PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"SetEnv TMPDIR={self.temporary}\nLogLevel VERBOSE\nPrintMotd no\n{self.more}\n"
        )
        (self.folder / "client").write_text(
            f"Host *\n  UserKnownHostsFile {self.folder}/known\n  GlobalKnownHostsFile /dev/null\n"
            f"  IdentityFile {self.folder}/user\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        )
        self.know(self.folder / "host.pub")
        self.start()

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def know(self, public: Path) -> None:
        """Make a public key the one that the client knows this server by."""
        kind, text, *_ = public.read_text().split()
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {kind} {text}\n")

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        with log:
            command = [str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self.listens)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def cut(self) -> None:
        """Cut every connection, as a network does: nobody says good-bye."""
        assert self.process is not None
        for child in children(self.process.pid):
            for session in (*children(child), child):  # the agent is started by the last of them
                if b"sshd" in Path(f"/proc/{session}/cmdline").read_bytes():
                    os.kill(session, signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None:
            self.cut()
            self.process.kill()
            self.process.wait()
            self.process = None

    def logins(self) -> int:
        return (self.folder / "log").read_text().count("Accepted publickey")

    def working(self) -> bool:
        """Whether an agent has received a model, so that it is loading or timing it."""
        return any(len(path.name) == 64 for path in self.temporary.glob("hwcomp-agent-*/*"))

    def address(self, python: object = None) -> str:
        query = "" if python is None else f"?python={python}"
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{query}"


def make_python(folder: Path, *packages: str) -> Path:
    """Return the interpreter of a new environment that has these packages of ours and no others."""
    venv.create(folder, symlinks=True, with_pip=False)
    (theirs,) = folder.glob("lib/python*/site-packages")
    ours = Path(np.__file__).parent.parent
    for package in packages:
        (theirs / package).symlink_to(ours / package)
    return folder / "bin" / "python"
