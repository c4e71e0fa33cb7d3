"""Compilers that build libraries for this machine or another one."""

import os
import platform
import shutil
from collections.abc import Sequence

from hwcomp.errors import LoweringError


def compiler_for(machine: str, what: str, native: Sequence[str]) -> str:
    """Return the path of a compiler for a machine: for this one ``$CC`` or the first that is here, else a cross one.

    Args:
        machine: as ``platform.machine()`` names it.
        what: needs it, as the subject of a sentence in the plural.
        native: names of compilers for this machine, the preferred one first.

    Raises:
        LoweringError: there is none; the sentence names the package that has it.
    """
    is_native = machine == platform.machine()
    chosen = os.environ.get("CC") if is_native else None
    cross = (f"{machine}-linux-gnu-gcc", f"{machine}-linux-gnu-g++")
    names = ([chosen] if chosen else []) + list(native if is_native else cross)
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        package = "gcc" if is_native else f"gcc-{machine.replace('_', '-')}-linux-gnu"
        raise LoweringError(
            f"{what} for {machine} need a C compiler ({', '.join(names)}), and there is none: "
            f"install the Debian package '{package}'."
        )
    return found
