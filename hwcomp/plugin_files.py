"""A plug-in by the name of a shipped file, or from a file of the user's, made with options."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hwcomp.errors import InputError
from hwcomp.plugins import load
from hwcomp.workload import execute_file


def find(package: str, spec: str, attribute: str) -> Any:
    """Return the ``attribute`` of a package's plug-in, or what ``path/to/file.py:name`` names.

    Raises:
        InputError: there is no such plug-in, file or name, or the file cannot be imported.
    """
    if ".py" not in spec:
        return load(package, spec, attribute)
    path_text, _, name = spec.partition(".py")
    path, name = Path(f"{path_text}.py"), name.removeprefix(":")
    if not path.is_file():
        raise InputError(f"No file '{path}'; give a plug-in of your own as path/to/file.py:NAME.")
    module = execute_file(path)
    found = getattr(module, name, None) if name else None
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and _is_from(value, module)]
        wanted = f"has no class or function '{name}'" if name else "is a file, and what to take from it is not named"
        raise InputError(f"{path} {wanted}; give it as {path}:NAME ({', '.join(known) or 'it has none'}).")
    return found


def make(kind: str, spec: str, factory: Any, options: Mapping[str, Any]) -> Any:
    """Call a plug-in's class or function with options.

    Args:
        kind: what it is, in words, for messages.
        spec: as the user named it.
        factory: what `find` returned.
        options: its keyword arguments.

    Raises:
        InputError: there is no such option, or a needed one is missing.
    """
    signature = inspect.signature(factory)
    try:
        signature.bind(**options)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise InputError(f"The {kind} '{spec}': {error}; its options: {known}.") from error
    return factory(**options)


def _is_from(value: Any, module: ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__
