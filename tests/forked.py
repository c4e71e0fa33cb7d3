"""Runs `hwcomp` in processes of its own, forked from one in which the imports, which take seconds, are done already."""

import atexit
import multiprocessing
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

PRELOADED = (
    "hwcomp.cli", "hwcomp.commands", "hwcomp.pipeline", "hwcomp.report", "jinja2", "onnxruntime", "plotly.offline",
)  # fmt: skip
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    def sentence(self) -> str:
        """Return the one sentence that was said about bad input, after checking that it is one."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert "Traceback" not in self.out + self.err
        said = [line for line in self.err.splitlines() if line.strip()]
        assert len(said) == 1, self.err
        assert said[0].startswith("hwcomp: ")
        return said[0]


def hwcomp(arguments: Iterable[object], folder: Path, environment: Mapping[str, str]) -> Done:
    """Run a command in a folder, with nothing but this environment."""
    with TemporaryDirectory(prefix="hwcomp-said-") as said:
        out, err = Path(said) / "out", Path(said) / "err"
        words = [str(argument) for argument in arguments]
        process = _context().Process(target=_command, args=(words, folder, dict(environment), out, err))
        process.start()
        try:
            process.join(TIMEOUT_S)
        finally:
            process.kill()
        process.join()
        assert process.exitcode is not None
        return Done(process.exitcode, out.read_text(), err.read_text())


@cache
def _context() -> ForkServerContext:
    """Return what starts processes: nothing but imports happens before they are forked.

    The test that comes first may have put stand-ins on PYTHONPATH; they are its own, not those of all tests after it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with patch.dict(os.environ):
        os.environ.pop("PYTHONPATH", None)
        forkserver.ensure_running()
    return context


def _command(words: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    """Be the command, until the process ends."""
    for path, place in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, place)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["hwcomp", *words]
    from hwcomp import cli  # is there already

    try:
        cli.entry()
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends without
