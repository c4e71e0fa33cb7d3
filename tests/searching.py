"""What tests of the differentiable search share: a small workload that learns, and the command."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked

SOURCE = '''
import os
import time

import torch
from torch import nn

example_inputs = (torch.zeros(1, 3, 16, 16),)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.an, self.bn, self.fc = nn.BatchNorm2d(32), nn.BatchNorm2d(32), nn.Linear(32, 2)

    def features(self, x):
        x = torch.relu(self.an(self.a(x)))
        return torch.relu(self.bn(self.b(x))).mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))


def model():
    """As if trained: BatchNorm knows its data, and the classifier is the best one for it."""
    torch.manual_seed(0)
    network = Small()
    x, y = (torch.cat(parts) for parts in zip(*batches(16, 9)))
    with torch.no_grad():
        for _ in range(20):
            network(x)
        columns = torch.cat([network.eval().features(x), torch.ones(len(x), 1)], 1)
        best = torch.linalg.lstsq(columns.double(), 2.0 * y[:, None].double() - 1).solution.float()
        network.fc.weight.copy_(torch.cat([-best[:-1], best[:-1]], 1).T)
        network.fc.bias.copy_(torch.cat([-best[-1], best[-1]]))
    return network


def batches(count, seed):
    """The mean of an image tells its class, with noise."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x, y = torch.randn(16, 3, 16, 16, generator=generator), torch.randint(0, 2, (16,), generator=generator)
        yield x + (2 * y - 1).view(-1, 1, 1, 1) * 0.06, y


def train_data():
    found = list(batches(12, 0))
    for index in torch.randperm(12):
        with open("read.txt", "a") as file:
            file.write("batch ")
        time.sleep(float(os.environ.get("PAUSE", 0)))
        yield found[index]


def validation_data():
    return batches(16, 1)


def eval_data():
    return batches(32, 2)
'''

COMMON = (
    "--target", "arm", "--threads", 1, "--calibration", 4, "--method", "differentiable", "--out", "out",
    "--learning-rate", 0.002, "--json",
)  # fmt: skip

BRIEF = ("--speedup", "2.5x", "--epochs", 6)
"""A search that has learned something."""


@dataclass(frozen=True)
class Command:
    """Runs `hwcomp` in a folder."""

    folder: Path
    cache: Path

    def write(self, source: str) -> "Command":
        """Write model.py."""
        (self.folder / "model.py").write_text(source)
        return self

    def __call__(self, *arguments: object) -> forked.Done:
        environment = os.environ | {"HWCOMP_CACHE": str(self.cache), "COLUMNS": "200"}
        return forked.hwcomp(arguments, self.folder, environment)

    def start(self, *options: object, pause_s: float = 0.0) -> "subprocess.Popen[str]":
        """Start a search as a process of its own; each batch takes a while."""
        command = Path(sys.executable).with_name("hwcomp")
        return subprocess.Popen(
            [str(part) for part in (command, "compile", "model.py", *COMMON, *options)],
            cwd=self.folder, env=os.environ | {"HWCOMP_CACHE": str(self.cache), "PAUSE": str(pause_s)}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def search(self, *options: object) -> forked.Done:
        """Search, with the options that tests have in common; options that are given again count."""
        return self("compile", "model.py", *COMMON, *options)

    def compile(self, *options: object) -> dict[str, Any]:
        """Return the manifest of a search that must succeed."""
        done = self.search(*options)
        assert done.code == 0, done.err
        manifest: dict[str, Any] = json.loads(done.out)
        return manifest

    def refused(self, *options: object) -> str:
        """Return the sentence by which a search is refused, after checking that it ends what is said."""
        done = self.search(*options)
        assert done.code == 2, done
        assert "Traceback" not in done.out + done.err
        lines = [line for line in done.err.splitlines() if line.strip()]
        assert [line for line in lines if line.startswith("hwcomp: ")] == lines[-1:], done.err
        assert not done.out
        return lines[-1]

    @property
    def batches_read(self) -> int:
        """How many batches of the training data were read."""
        path = self.folder / "read.txt"
        return len(path.read_text().split()) if path.exists() else 0

    @property
    def trainings(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted((self.cache / "training").glob("*"), key=lambda path: path.stat().st_mtime_ns)
