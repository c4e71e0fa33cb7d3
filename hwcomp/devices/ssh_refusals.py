"""Why a device cannot be reached, from what the ssh client said: one sentence that tells what to do."""

import re

from hwcomp.devices.address import Address
from hwcomp.devices.checks import printable
from hwcomp.errors import DeviceError, DeviceLost

SSH_FAILED = 255
NOT_EXECUTABLE, NOT_FOUND = 126, 127
UNREACHABLE = (
    "Could not resolve hostname", "Connection refused", "No route to host", "Network is unreachable", "timed out",
    "Connection closed by", "Connection reset by", "kex_exchange_identification", "banner exchange",
)  # fmt: skip


def refusal(name: str, address: Address, code: int, said: str) -> DeviceError:
    """Return the error for a device that gave no agent.

    Args:
        name: of the device, as the user wrote it.
        address: what that was understood as.
        code: with which ssh ended.
        said: what it wrote on stderr.
    """
    last = printable(next((line for line in reversed(said.splitlines()) if line.strip()), f"ended with code {code}"))
    if code == SSH_FAILED:
        return _from_client(name, address, said, last)
    old = re.search(r"^hwcomp-python (\S+)$", said, re.MULTILINE)
    if old is not None:
        return DeviceError(
            f"'{address.python}' on '{name}' is Python {printable(old[1])}; 3.9 or newer is needed{_other(address)}."
        )
    if code in (NOT_EXECUTABLE, NOT_FOUND):
        return DeviceError(
            f"There is no '{address.python}' on '{name}' ({last}); install Python there{_other(address)}."
        )
    return DeviceLost(f"No agent could be started with '{address.python}' on '{name}': {last}.")


def _from_client(name: str, address: Address, said: str, last: str) -> DeviceError:
    """Return what the ssh client itself found wrong."""
    login = shell_form(address)
    if "IDENTIFICATION HAS CHANGED" in said:
        return DeviceError(
            f"The host key of '{name}' is not the one that is known here: this may be another machine. Compare "
            f"`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the device with what `{login}` shows; only if they "
            f"agree, forget the old key with `ssh-keygen -R {_known_as(address)}` and log in once by hand."
        )
    if "Host key verification failed" in said or "host key is known for" in said:
        return DeviceError(
            f"The host key of '{name}' is not known here; log in once by hand with `{login}`, after comparing the "
            "fingerprint that it shows with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the device."
        )
    if "Permission denied" in said or "Too many authentication failures" in said:
        return DeviceError(
            f"'{name}' refuses the login ({last}); make `{login}` work without a password first, with `ssh-copy-id`."
        )
    if any(text in said for text in UNREACHABLE):
        return DeviceLost(f"'{name}' cannot be reached ({last}); check that it is on, its address and its ssh server.")
    return DeviceLost(f"'{name}' cannot be used over ssh: {last}.")


def _other(address: Address) -> str:
    return f", or name another one: ssh://{address.host}?python=/path/to/python3"


def shell_form(address: Address) -> str:
    """Return the command with which one logs in by hand."""
    port = "" if address.port is None else f"-p {address.port} "
    user = "" if address.user is None else f"{address.user}@"
    return f"ssh {port}{user}{address.host}"


def _known_as(address: Address) -> str:
    return address.host if address.port is None else f"'[{address.host}]:{address.port}'"
