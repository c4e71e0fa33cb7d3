"""The folder is the registry: a plug-in is found by its file name and imported only when asked for."""

import difflib
import importlib
from importlib.resources import files
from typing import Any

from hwcomp.errors import InputError


def names(package: str, suffix: str = ".py") -> tuple[str, ...]:
    """Return the plug-ins of a package, sorted: its files with that suffix, but none that starts with an underscore."""
    found = (entry.name for entry in files(package).iterdir())
    return tuple(sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix) and name[0] != "_"))


def load(package: str, name: str, attribute: str) -> Any:
    """Import ``package.name`` and return its ``attribute``.

    Raises:
        InputError: there is no such plug-in; near matches are offered.
    """
    if name not in names(package):
        raise InputError(f"No '{name}' in {package}; {suggest(name, names(package))}.")
    return getattr(importlib.import_module(f"{package}.{name}"), attribute)


def suggest(name: str, choices: tuple[str, ...]) -> str:
    """Return "did you mean ...?" for a near match, or else the choices."""
    near = difflib.get_close_matches(name, choices, n=2, cutoff=0.5)
    listing = ", ".join(choices)
    return f"did you mean {' or '.join(near)}? (there are: {listing})" if near else f"choose from {listing}"
