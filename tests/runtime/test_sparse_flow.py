"""`hwcomp compile --method magnitude_pruning` and `score_pruning`: sparse, compiled networks, or one clear sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Done
from safetensors.torch import load_file
from searching import SOURCE, Command

import hwcomp
from hwcomp.lowering.sparse_layers import kernel_library

OPTIONS = ("--calibration", 4, "--threads", 1, "--out", "out", "--epochs", 2, "--json")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path, tmp_path / "cache").write(SOURCE)


def compiled(command: Command, *options: object) -> dict[str, Any]:
    done = command("compile", "model.py", "--target", "x86_64", *OPTIONS, *options)
    assert done.code == 0, done.err
    manifest: dict[str, Any] = json.loads(done.out)
    return manifest


def refused(done: Done) -> str:
    """Return the one sentence by which a command is refused."""
    assert done.code == 2, done
    assert "Traceback" not in done.out + done.err
    (sentence,) = [line for line in done.err.splitlines() if line.strip()]
    assert sentence.startswith("hwcomp: ")
    return sentence


@pytest.mark.parametrize("method", ["magnitude_pruning", pytest.param("score_pruning", marks=pytest.mark.slow)])
def test_a_density_gives_a_sparse_network(command: Command, method: str) -> None:
    manifest = compiled(command, "--method", method, "--density", 0.1)
    assert manifest["method"] == method
    assert manifest["widths"] == []
    assert [epoch["epoch"] for epoch in manifest["training"]] == [1, 2]
    told = next(note for note in manifest["notes"] if note.startswith(method))
    assert f"{method}, sparse4x1:0.1: " in told
    assert told.endswith("of the multiply-accumulates are with zeros now, in 1 of 3 layers")
    assert "a: stays dense: it is the first convolution" in manifest["notes"]
    assert any(note.startswith("fc: stays dense: the last layer does only") for note in manifest["notes"])
    assert manifest["assignment"]["b"].startswith("sparse4x1:0.1")
    weights = load_file(next((command.folder / "out" / "program").glob("*.safetensors")))
    weight = next(x for name, x in weights.items() if x.shape == (32, 32, 3, 3))
    kept = (weight.view(8, 4, 32, 3, 3) != 0).sum(1)
    assert set(kept.unique().tolist()) == {0, 4}
    assert int((kept == 4).sum()) == kept.numel() - int(0.9 * kept.numel())
    session = hwcomp.load(command.folder / "out")
    assert session(torch.zeros(1, 3, 16, 16)).shape == (1, 2)


@pytest.mark.slow
def test_single_weights_in_groups_need_no_density(command: Command) -> None:
    manifest = compiled(command, "--method", "magnitude_pruning", "--pattern", "2of4")
    assert any("sparse2of4" in note for note in manifest["notes"])
    weights = load_file(next((command.folder / "out" / "program").glob("*.safetensors")))
    weight = next(x for x in weights.values() if x.shape == (32, 32, 3, 3))
    assert bool(((weight.view(32, 8, 4, 9) != 0).sum(2) == 2).all())


@pytest.mark.slow
def test_the_sparse_network_is_what_accuracy_is_compared_with(command: Command) -> None:
    """The user gave the density: what that costs is not the compiler's loss."""
    done = compiled(command, "--method", "magnitude_pruning", "--density", 0.02, "--pattern", "1x1", "--max-drop", 0.5)
    assert done["budget"]["met"]
    assert done["assignment"]["b"].startswith("sparse")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *(
            (("--density", density), f"Option --density: Input should be {words}")
            for density, words in {
                "0": "greater than 0",
                "1.5": "less than or equal to 1",
                "-1": "greater than 0",
                "nan": "a finite number",
                "abc": "a valid number",
            }.items()
        ),
        (("--density", 0.1, "--pattern", "4by1"), "There is no pattern '4by1' of sparse weights; give a block"),
        (("--density", 0.1, "--pattern", "2of4"), "leave --density out"),
        (("--density", 0.1, "--pattern", "999x1"), "No layer of this network can become sparse999x1:0.1"),
        (("--speedup", "4x"), "no latency decides it; give --density, above 0 and at most 1"),
        (("--density", 0.1, "--prune-rate", 0.1), "--prune-rate is for uniform_pruning"),
        (("--density", 0.1, "--paper"), "--paper is for soft_filter_pruning"),
        (("--density", 0.1, "--sparse"), "--sparse is for --method differentiable"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_options_are_told_in_one_sentence(command: Command, options: tuple[object, ...], said: str) -> None:
    common = ("--target", "x86_64", "--out", "out", "--method", "score_pruning")
    assert said in refused(command("compile", "model.py", *common, *options))
    assert not (command.folder / "out" / "manifest.json").exists()


def test_options_of_the_methods_are_refused_elsewhere(command: Command) -> None:
    start = ("compile", "model.py", "--target", "x86_64")
    assert "--density is for methods that train" in refused(command(*start, "--density", 0.1))
    done = command(*start, "--method", "uniform_pruning", "--prune-rate", 0.5, "--pattern", "8x1")
    assert "--pattern is for score_pruning and magnitude_pruning" in refused(done)


@pytest.mark.parametrize(
    "options",
    [("magnitude_pruning", "--density", 0.1), ("differentiable", "--sparse", "--speedup", "2x")],
    ids=["density", "search"],
)
def test_a_missing_compiler_is_told_before_anything_is_trained(
    command: Command, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...]
) -> None:
    kernel_library.cache_clear()
    monkeypatch.setenv("PATH", str(command.folder))
    done = command("compile", "model.py", "--target", "arm", *OPTIONS, "--method", *options)
    assert done.code == 2
    assert "install the Debian package 'gcc-aarch64-linux-gnu'" in done.err.splitlines()[-1]
    assert command.trainings == []


def test_where_zeros_make_nothing_faster_it_is_told(command: Command) -> None:
    shown = command("targets", "show", "x86_64").out
    lines = [line for line in shown.splitlines() if not line.startswith("sparse = [")]
    (command.folder / "plain.toml").write_text("\n".join(lines))
    manifest = compiled(command, "--target", "plain.toml", "--method", "magnitude_pruning", "--density", 0.1)
    assert any("has no sparse kernels: zeros make nothing faster" in note for note in manifest["notes"])
    assert not any(choice.startswith("sparse") for choice in manifest["assignment"].values())


def test_without_data_nothing_is_trained(command: Command) -> None:
    command.write(SOURCE.replace("def train_data", "def other_data"))
    done = command("compile", "model.py", "--target", "x86_64", "--method", "score_pruning", "--density", 0.1)
    assert "define train_data()" in done.err
    assert done.code == 2
