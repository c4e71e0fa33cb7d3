"""What ``hwcomp setup`` does: prepare optional parts, with one line about each step."""

from pathlib import Path

from rich.console import Console

from hwcomp.emulation.setup import prepare
from hwcomp.errors import InputError

EMULATION = "emulation"


def setup(what: str, sources: Path | None) -> None:
    """Prepare something.

    Raises:
        InputError: there is no such part, or something is missing here.
    """
    if what != EMULATION:
        raise InputError(f"There is nothing called '{what}' to set up; write `hwcomp setup {EMULATION}`.")
    console = Console(highlight=False, soft_wrap=True)
    emulator = prepare(console.print, sources)
    console.print(f"ready: {emulator.root} (remove the folder to undo); try --target arm --device emulated")
