"""`hwcomp compile --method differentiable --sparse`: layers that keep a part of their weights are found and trained."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from searching import SOURCE, Command

import hwcomp

pytestmark = pytest.mark.slow

FORWARD = """    def forward(self, x):
        return self.fc(self.features(x))
"""

FROZEN = """    def forward(self, x):
        x = torch.relu(self.an(self.a(x)))
        x = torch.relu(self.bn(x + self.b(x)))
        return self.fc(x.mean((2, 3))), x


def loss(outputs, targets):
    return nn.functional.cross_entropy(outputs[0], targets)


def metric(outputs, targets):
    return 100.0 * float((outputs[0].argmax(1) == targets).float().mean())
"""
"""All channels are an output of the network, so none of them can go."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("search")
    command = Command(folder, folder / "cache").write(SOURCE.replace(FORWARD, FROZEN))
    found = command.compile("--target", "x86_64", "--sparse", "--speedup", "3x", "--epochs", 4, "--filter-share", 0)
    return command, found


def test_the_winner_names_sparse_schemes(manifest: tuple[Command, dict[str, Any]]) -> None:
    command, found = manifest
    assert found["budget"]["met"]
    assert found["assignment"]["b"].startswith("sparse4x1:")
    assert any(note.startswith("b: keeps a part of its weights (sparse4x1:") for note in found["notes"])
    assert len(found["search"]) == 2
    session = hwcomp.load(command.folder / "out")
    assert session(torch.zeros(1, 3, 16, 16))[0].shape == (1, 2)


def test_the_zeros_are_exact_and_in_blocks(manifest: tuple[Command, dict[str, Any]]) -> None:
    command, found = manifest
    weights = load_file(next((command.folder / "out" / "program").glob("*.safetensors")))
    weight = next(x for x in weights.values() if x.shape == (32, 32, 3, 3))
    kept = (weight.view(8, 4, 32, 3, 3) != 0).sum(1)
    assert set(kept.unique().tolist()) == {0, 4}
    share = float((kept == 4).float().mean())
    assert share <= float(found["assignment"]["b"].partition(":")[2]) < share + 0.011


def test_the_same_command_trains_nothing_again(manifest: tuple[Command, dict[str, Any]]) -> None:
    command, found = manifest
    before = command.trainings
    again = command.compile("--target", "x86_64", "--sparse", "--speedup", "3x", "--epochs", 4, "--filter-share", 0)
    assert again["assignment"] == found["assignment"]
    assert again["files"] == found["files"]
    assert sorted(command.trainings) == sorted(before)


def test_a_target_without_sparse_kernels_searches_without_them(tmp_path: Path) -> None:
    command = Command(tmp_path, tmp_path / "cache").write(SOURCE)
    shown = command("targets", "show", "x86_64").out
    assert "sparse = [" in shown
    lines = [line for line in shown.splitlines() if not line.startswith("sparse = [")]
    (tmp_path / "plain.toml").write_text("\n".join(lines))
    done = command.search("--target", "plain.toml", "--sparse", "--speedup", "2.5x", "--epochs", 2)
    assert done.code == 0, done.err
    assert "every layer keeps all of them" in done.err
    assert not any(choice.startswith("sparse") for choice in json.loads(done.out)["assignment"].values())
