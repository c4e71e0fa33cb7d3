"""What ``hwcomp setup`` does: prepare optional parts, with one line about each step."""

from pathlib import Path

from rich.console import Console

from hwcomp.emulation.setup import prepare, prepare_tvm
from hwcomp.errors import InputError

EMULATION, TVM = "emulation", "tvm"
"""Emulated cores with ONNX Runtime; the same with TVM's runtime, for libraries."""


def setup(what: str, sources: Path | None) -> None:
    """Prepare something.

    Raises:
        InputError: there is no such part, or something is missing here.
    """
    if what not in (EMULATION, TVM):
        raise InputError(
            f"There is nothing called '{what}' to set up; write `hwcomp setup {EMULATION}`, or `hwcomp setup {TVM}`."
        )
    console = Console(highlight=False, soft_wrap=True)
    emulator = (prepare_tvm if what == TVM else prepare)(console.print, sources)
    console.print(f"ready: {emulator.root} (remove the folder to undo); try --target arm --device emulated")
