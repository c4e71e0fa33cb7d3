"""A device that is reached over ssh: the agent is sent there and spoken to through the same connection.

The system's own ssh client is used, with the user's configuration and keys; no port is opened, no file is left there.
"""

import hashlib
import os
import shlex
from typing import final

from hwcomp.devices.address import parse_address
from hwcomp.devices.agent.providers import CPU
from hwcomp.devices.connection import Connection, Lost
from hwcomp.devices.pipe import PipeDevice
from hwcomp.devices.shipping import archive
from hwcomp.devices.ssh_refusals import refusal
from hwcomp.errors import DeviceError, InputError

OPTIONS_VARIABLE = "HWCOMP_SSH_OPTIONS"
FIRM = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "NoHostAuthenticationForLocalhost=no", "LogLevel=ERROR",
    "ClearAllForwardings=yes", "ForwardAgent=no", "ForwardX11=no", "PermitLocalCommand=no", "RemoteCommand=none",
    "ControlMaster=no",
)  # fmt: skip
"""These come first, and ssh takes the first value that it finds: nobody's options change them."""

USUAL = ("ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=3")
WAITS_S = (1.0, 4.0, 10.0)
READY = "hwcomp-agent"
MAX_GREETING_BYTES = 2**16
START_S = 90.0

LOADER = (
    "import sys; "
    'sys.version_info >= (3, 9) or sys.exit("hwcomp-python " + sys.version.split()[0]); '
    "sys.path = [p for p in sys.path if p]; "  # a file in the home folder is no module
    "import hashlib, pathlib, signal, tempfile; "
    'sys.stdout.write("{ready}\\n"); sys.stdout.flush(); '
    "CONTENT = sys.stdin.buffer.read({size}); "
    'hashlib.sha256(CONTENT).hexdigest() == "{digest}" or sys.exit("the agent did not arrive whole"); '
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); "  # from here on there is something to remove
    'FOLDER = tempfile.TemporaryDirectory(prefix="hwcomp-agent-"); '  # only its owner may read and write it
    'ARCHIVE = pathlib.Path(FOLDER.name, "agent.zip"); ARCHIVE.write_bytes(CONTENT); '
    "sys.path.insert(0, str(ARCHIVE)); "
    "from hwcomp_agent.serving import serve; serve(FOLDER)"
)
"""Runs there; only double quotes, so that every kind of shell takes it as one word between single ones."""


@final
class SshDevice(PipeDevice):
    """A device behind an ``ssh://`` address."""

    def __init__(self, address: str, waits_s: tuple[float, ...] = WAITS_S, provider: str = CPU) -> None:
        super().__init__(address, provider)
        self.waits_s = waits_s
        self.address = parse_address(address)
        self._archive = archive()
        command = shlex.join([self.address.python, "-c", loader(self._archive)])
        self._command = [*client(), *self._destination(), command]

    def connect(self) -> Connection:
        """Return a connection to an agent that was just started there."""
        try:
            connection = Connection(self._command)
        except FileNotFoundError as error:
            raise DeviceError("There is no `ssh` here; install the OpenSSH client.") from error
        try:
            is_ready = connection.skip_to(f"{READY}\n".encode(), MAX_GREETING_BYTES, START_S)
            if is_ready:
                connection.send(self._archive)
                return connection
        except Lost as error:
            code, said = connection.ended()
            connection.close()
            raise refusal(self.name, self.address, code, said) from error
        except BaseException:
            connection.close()
            raise
        connection.close()
        raise DeviceError(f"'{self.name}' prints more than a greeting when one logs in; make its shell quiet.")

    def _destination(self) -> list[str]:
        """Return the arguments that name the place; behind ``--`` nothing is taken for an option."""
        user = [] if self.address.user is None else ["-l", self.address.user]
        port = [] if self.address.port is None else ["-p", str(self.address.port)]
        return [*user, *port, "--", self.address.host]


def loader(content: bytes) -> str:
    """Return what takes an archive from stdin there and starts the agent in it."""
    return LOADER.format(ready=READY, size=len(content), digest=hashlib.sha256(content).hexdigest())


def client() -> list[str]:
    """Return the ssh client with its options.

    Raises:
        InputError: the options in the environment cannot be read.
    """
    try:
        given = shlex.split(os.environ.get(OPTIONS_VARIABLE, ""))
    except ValueError as error:
        raise InputError(f"{OPTIONS_VARIABLE} cannot be read ({error}); write it as in a shell.") from error
    firm = [part for option in FIRM for part in ("-o", option)]
    usual = [part for option in USUAL for part in ("-o", option)]
    return ["ssh", "-T", *firm, *given, *usual]
