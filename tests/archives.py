"""Archives of the agent, as it is and changed: a stand-in for what no machine here does."""

import io
from pathlib import Path
from zipfile import ZipFile

from hwcomp.devices.shipping import archive


def write_archive(path: Path, *changes: tuple[str, str], first: str = "") -> Path:
    """Write the agent's archive.

    Args:
        path: of the archive.
        changes: what stands once in its modules -> what stands there instead.
        first: is run before the agent starts.
    """
    with ZipFile(io.BytesIO(archive())) as original:
        modules = {name: original.read(name).decode() for name in original.namelist()}
    for before, after in changes:
        (name,) = [name for name, text in modules.items() if before in text]
        assert modules[name].count(before) == 1, before
        modules[name] = modules[name].replace(before, after)
    modules["__main__.py"] = first + modules["__main__.py"]
    with ZipFile(path, "w") as changed:
        for name, text in modules.items():
            changed.writestr(name, text)
    return path
