"""Runs `hwcomp` as a user does: as a process, with a cache and a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import forked
import numpy as np
import pytest
from archives import write_archive
from gpu_stand_ins import Child, Driver, Open
from ssh_server import PRIVILEGE_SEPARATION, Server, make_python

COMMAND = Path(sys.executable).with_name("hwcomp")

TINY = """
import torch
from torch import Tensor, nn

example_inputs = (torch.zeros(1, 3, 16, 16),)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


def model():
    torch.manual_seed(0)
    return Tiny()


def calibration_data():
    yield torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
"""


@dataclass(frozen=True)
class Cli:
    """Runs `hwcomp` in a folder."""

    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def store(self) -> Path:
        return self.folder / "latency.sqlite"

    @property
    def environment(self) -> dict[str, str]:
        own = {"HWCOMP_CACHE": str(self.cache), "HWCOMP_STORE": str(self.store)}
        return os.environ | own | {"NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"}

    def write(self, source: str, name: str = "model.py") -> str:
        (self.folder / name).write_text(source)
        return name

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        command = [str(COMMAND), *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __call__(self, *arguments: object) -> forked.Done:
        return forked.hwcomp(arguments, self.folder, self.environment)

    def succeeds(self, *arguments: object) -> str:
        """Run a command that must succeed without complaint, and return what it printed."""
        done = self(*arguments)
        assert done.code == 0, (done.code, done.out, done.err)
        assert "Traceback" not in done.err
        return done.out

    def files(self) -> set[Path]:
        """Return every file below the folder, but those of the cache and of Python's."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {path for path in found if self.cache not in path.parents and "__pycache__" not in path.parts}


@pytest.fixture(scope="session", autouse=True)
def _other_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep all tests away from the user's own latencies, however they start hwcomp."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWCOMP_STORE", str(tmp_path_factory.mktemp("store") / "latency.sqlite"))
        yield


@pytest.fixture(scope="session")
def cli_in() -> Callable[[Path], Cli]:
    """Return what makes a command for a folder."""
    return Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return the command, in a folder that holds nothing."""
    return Cli(tmp_path)


@pytest.fixture(scope="session")
def tiny_source() -> str:
    """Return a model.py of two layers."""
    return TINY


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact of the tiny network for a board that is not here; copy it before changing it."""
    command = Cli(tmp_path_factory.mktemp("tiny"))
    command.succeeds("compile", command.write(TINY), "--target", "arm", "--calibration", 2, "--out", "artifact")
    return command.folder / "artifact"


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    folder = tmp_path / "driver"
    folder.mkdir()
    return Driver(folder)


@pytest.fixture
def opened(driver: Driver, tmp_path: Path) -> Iterator[Open]:
    """Open an agent beside the stand-in driver; changes to its modules make further stand-ins."""
    made: list[Child] = []

    def make(*changes: tuple[str, str], provider: str = "cuda", kind: type[Child] = Child, **environment: str) -> Child:
        path = write_archive(tmp_path / f"agent{len(made)}.zip", *changes)
        made.append(kind(path, {**driver.environment, **environment}, provider))
        return made[-1]

    yield make
    for device in made:
        device.close()


@pytest.fixture(scope="module")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []
    is_new = os.getuid() == 0 and not PRIVILEGE_SEPARATION.exists()
    if is_new:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)

    def make(more: str = "") -> Server:
        made.append(Server(tmp_path_factory.mktemp("server") / "s", more))
        return made[-1]

    yield make
    for server in made:
        server.stop()
    if is_new:
        PRIVILEGE_SEPARATION.rmdir()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], Server]:
    """Make the ssh client use a server's keys."""

    def choose(server: Server, *options: str) -> Server:
        monkeypatch.setenv("HWCOMP_SSH_OPTIONS", " ".join(["-F", str(server.folder / "client"), *options]))
        return server

    return choose


@pytest.fixture(scope="module")
def shared(make_server: Callable[..., Server]) -> Server:
    return make_server()


@pytest.fixture
def server(shared: Server, use: Callable[..., Server]) -> Server:
    """A server that is running, and that the client knows."""
    if shared.process is None:
        shared.start()
    shared.know(shared.folder / "host.pub")
    return use(shared)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with what the agent needs, and nothing else."""
    ours = Path(np.__file__).parent.parent
    libraries = [path.name for path in ours.glob("numpy.libs")]
    return make_python(tmp_path_factory.mktemp("board") / "venv", "numpy", "onnxruntime", *libraries)
