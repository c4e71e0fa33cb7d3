"""The agent as it travels: one zip archive that Python runs, and imports from."""

import io
from importlib.resources import files
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

NAME = "hwcomp_agent"
"""Of the package there: it is no part of an hwcomp that might be installed."""

MAIN = f'import runpy\n\nrunpy.run_module("{NAME}", run_name="__main__")\n'
DATE = (1980, 1, 1, 0, 0, 0)
"""Of all files: the same agent is the same bytes, whenever it was installed."""


def archive() -> bytes:
    """Return the archive."""
    modules = [entry for entry in files("hwcomp.devices.agent").iterdir() if entry.name.endswith(".py")]
    contents = {f"{NAME}/{entry.name}": entry.read_bytes() for entry in modules}
    packed = io.BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as made:
        for name, content in sorted({"__main__.py": MAIN.encode(), **contents}.items()):
            made.writestr(ZipInfo(name, DATE), content, ZIP_DEFLATED)
    return packed.getvalue()
