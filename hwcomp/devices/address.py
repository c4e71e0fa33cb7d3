"""Addresses of devices that are reached over ssh."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from hwcomp.errors import InputError

FORM = "ssh://[user@]host[:port][?python=/path/to/python3]"
PARTS = re.compile(
    r"ssh://(?:(?P<user>[^@/?#]*)@)?(?P<host>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^:/?#@\[\]]+)(?::(?P<port>\d+))?/?(?:\?(?P<query>.*))?"
)
SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.%:-]*")
"""Names that a command line cannot take for something else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a device is reached over ssh.

    Attributes:
        host: name or number, or an alias of the user's ssh configuration.
        user: None for what that configuration says, like the port.
        port: of the ssh server.
        python: the interpreter to use there.
    """

    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"


def parse_address(text: str) -> Address:
    """Return the address that a text names.

    Raises:
        InputError: it is none; nothing in it can reach the ssh client as an option.
    """
    match = PARTS.fullmatch(text)
    if match is None:
        raise InputError(f"'{text}' is not an address of a device; write {FORM}.")
    user, host, port = match["user"], match["host"].strip("[]"), match["port"]
    if user is not None and ":" in user:
        raise InputError(f"'{host}' is addressed with a password; use a key (see `ssh-copy-id`) and leave it out.")
    wrong = next((part for part in (user, host) if part is not None and not SAFE.fullmatch(part)), None)
    if wrong is not None:
        raise InputError(f"'{wrong}' cannot be a part of the address of a device; write {FORM}.")
    if port is not None and not 0 < int(port) < 65536:
        raise InputError(f"Port {port} of '{host}' is not between 1 and 65535.")
    options = dict(parse_qsl(match["query"] or "", keep_blank_values=True))
    python = options.pop("python", "python3")
    if options or not python or not python.isprintable():
        raise InputError(f"'{text}' has options that are not known behind the '?'; write {FORM}.")
    return Address(host=host, user=user, port=None if port is None else int(port), python=python)
