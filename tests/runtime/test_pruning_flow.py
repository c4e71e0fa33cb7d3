"""`hwcomp compile --method ...`: a smaller, measured network that plain ONNX Runtime runs, or one clear sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import hwcomp

SOURCE = """
import torch
from torch import Tensor, nn

example_inputs = (torch.zeros(1, 3, 16, 16),)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Conv2d(64, 64, 3, padding=1, bias=False)
        self.an, self.bn, self.fc = nn.BatchNorm2d(64), nn.BatchNorm2d(64), nn.Linear(64, 2)

    def forward(self, x):
        x = torch.relu(self.an(self.a(x)))
        return self.fc(torch.relu(self.bn(self.b(x))).mean((2, 3)))


def model():
    torch.manual_seed(0)
    return Small()


def batches(count, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x, y = torch.randn(16, 3, 16, 16, generator=generator), torch.randint(0, 2, (16,), generator=generator)
        yield x + (2 * y - 1).view(-1, 1, 1, 1) * 0.5, y


def train_data():
    return batches(6, 0)


def validation_data():
    return batches(4, 1)


def eval_data():
    return batches(4, 2)
"""


@pytest.fixture
def compile_(cli: Any) -> Callable[..., dict[str, Any]]:
    def run(*options: object) -> dict[str, Any]:
        model = cli.write(SOURCE)
        common = ("--out", "out", "--calibration", 4, "--threads", 1, "--json")
        manifest: dict[str, Any] = json.loads(cli.succeeds("compile", model, *common, *options))
        return manifest

    return run


@pytest.mark.parametrize("method", ["uniform_pruning", "soft_filter_pruning", "asymptotic_soft_filter_pruning"])
def test_a_rate_gives_a_smaller_network(cli: Any, compile_: Callable[..., dict[str, Any]], method: str) -> None:
    manifest = compile_("--target", "arm", "--method", method, "--prune-rate", 0.5, "--epochs", 2)
    assert manifest["method"] == method
    widths = {entry["group"]: (entry["kept"], entry["channels"]) for entry in manifest["widths"]}
    assert all(channels == 64 and 16 <= kept < 64 for kept, channels in widths.values())
    assert len(widths) == 2
    assert [epoch["epoch"] for epoch in manifest["training"]] == [1, 2]
    assert manifest["compiled"]["size_bytes"] < 0.6 * manifest["baseline"]["size_bytes"]
    assert any("of the multiply-accumulates" in note for note in manifest["notes"])
    assert manifest["compiled"]["accuracy"] > 90
    session = onnxruntime.InferenceSession(cli.folder / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, 16, 16), np.float32)})
    assert output.shape == (1, 2)
    assert (cli.folder / "out" / "program" / "network.py").is_file()
    assert "channels" in (cli.folder / "out" / "report.html").read_text()


@pytest.mark.slow
def test_a_latency_gives_a_smaller_network(compile_: Callable[..., dict[str, Any]]) -> None:
    manifest = compile_("--target", "host", "--method", "latency_pruning", "--speedup", "4x", "--epochs", 2)
    assert manifest["budget"]["met"]
    assert manifest["speedup"] >= 4
    assert any(entry["kept"] < entry["channels"] for entry in manifest["widths"])
    assert manifest["compiled"]["latency_us"]["provenance"] == "measured"


def test_an_estimated_latency_decides_too(compile_: Callable[..., dict[str, Any]]) -> None:
    manifest = compile_("--target", "arm", "--method", "latency_pruning", "--speedup", "2.5x", "--epochs", 1)
    assert manifest["speedup"] >= 2.5
    assert manifest["compiled"]["latency_us"]["provenance"] != "measured"
    assert any(entry["kept"] < entry["channels"] for entry in manifest["widths"])
    assert manifest["baseline"]["latency_us"]["median"] > 2.5 * manifest["compiled"]["latency_us"]["median"] * 0.99


def test_training_is_not_done_twice(cli: Any, compile_: Callable[..., dict[str, Any]]) -> None:
    options = ("--target", "arm", "--method", "uniform_pruning", "--prune-rate", 0.5, "--epochs", 2)
    first, second = compile_(*options), compile_(*options)
    assert [epoch["seconds"] for epoch in first["training"]] == [epoch["seconds"] for epoch in second["training"]]
    assert first["files"] == second["files"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "shrink"), "Option --method"),
        (("--method", "uniform_pruning"), "give --prune-rate, from 0 to below 1"),
        (("--method", "uniform_pruning", "--prune-rate", 1), "Option --prune-rate"),
        (("--method", "uniform_pruning", "--prune-rate", -0.1), "Option --prune-rate"),
        (("--method", "soft_filter_pruning", "--prune-rate", 0.5, "--epochs", 0), "Option --epochs"),
        (("--method", "uniform_pruning", "--prune-rate", 0.5, "--paper"), "--paper is for soft_filter_pruning"),
        (("--method", "uniform_pruning", "--prune-rate", 0.5, "--from-scratch"), "--from-scratch is for soft_filter"),
        (("--method", "uniform_pruning", "--prune-rate", 0.5, "--steps", 2), "--steps is for latency_pruning"),
        (("--method", "uniform_pruning", "--prune-rate", 0.5, "--recovery", 0.1), "--recovery is for soft_filter"),
        (("--method", "soft_filter_pruning", "--prune-rate", 0.5, "--recovery", 1), "Option --recovery"),
        (("--method", "soft_filter_pruning", "--prune-rate", 0.5, "--importance", "taylor"), "needs gradients, which"),
        (("--prune-rate", 0.5), "--prune-rate is for methods that train the network; give --method too"),
        (("--mixed-precision", "bf16"), "--mixed-precision is for methods that train the network; give --method too"),
        (("--method", "uniform_pruning", "--mixed-precision", "fp8"), "Option --mixed-precision"),
        (("--method", "latency_pruning"), "give --latency or --speedup"),
        (("--method", "latency_pruning", "--speedup", "2x", "--prune-rate", 0.3), "finds the widths itself"),
        (("--method", "uniform_pruning", "--prune-rate", 0.5, "--importance", "l3"), "did you mean l2 or l1"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_options_are_told_in_one_sentence(cli: Any, options: tuple[object, ...], said: str) -> None:
    model = cli.write(SOURCE)
    assert said in cli("compile", model, "--target", "arm", "--out", "out", *options).sentence()
    assert not (cli.folder / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (SOURCE.replace("return batches(6, 0)", "return None"), "train_data gives None"),
        (SOURCE.replace("return batches(6, 0)", "return iter(())"), "train_data"),
        (SOURCE.replace("randint(0, 2", "randint(5, 7"), "label"),
    ],
    ids=["no data", "empty", "labels"],
)
def test_bad_data_is_told_in_one_sentence(cli: Any, source: str, said: str) -> None:
    model = cli.write(source)
    options = ("--target", "arm", "--calibration", 2, "--method", "uniform_pruning", "--prune-rate", 0.5)
    done = cli("compile", model, "--out", "out", *options, "--epochs", 1)
    assert said in done.sentence(), done.err


def test_a_path_that_is_no_importance_is_told(cli: Any, tmp_path: Path) -> None:
    model = cli.write(SOURCE)
    options = ("--target", "arm", "--method", "uniform_pruning", "--prune-rate", 0.5, "--importance", "none.py:f")
    assert "No file 'none.py'" in cli("compile", model, "--out", str(tmp_path / "o"), *options).sentence()


def test_the_python_interface_prunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWCOMP_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {}
    exec(SOURCE, names)
    result = hwcomp.compile(
        names["model"](), names["example_inputs"], target="arm", calibration=[torch.randn(2, 3, 16, 16)],
        train=names["train_data"], validation=names["validation_data"], method="uniform_pruning",
        shrinking=hwcomp.Shrinking(rate=0.5, epochs=1), out=tmp_path / "out",
    )  # fmt: skip
    assert all(entry.kept == 32 for entry in result.report.widths)
