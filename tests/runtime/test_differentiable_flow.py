"""`hwcomp compile --method differentiable`: precision and widths within a budget, in a file that plain runtimes run."""

import importlib.util
import json
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from searching import BRIEF, SOURCE, Command
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from hwcomp.manifest import Manifest
from hwcomp.search_facts import verdict


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, dict[str, Any]]:
    """A search, and its manifest; others use its cache, for what is exported and timed is the same."""
    command = Command(tmp_path_factory.mktemp("brief"), tmp_path_factory.mktemp("cache")).write(SOURCE)
    return command, command.compile(*BRIEF, "--tensorboard", "curves")


@pytest.fixture
def search(tmp_path: Path, brief: tuple[Command, dict[str, Any]]) -> Command:
    return Command(tmp_path, brief[0].cache).write(SOURCE)


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"written_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rebuilt(artifact: Path) -> Any:
    """The trained network with its rounding, in plain PyTorch."""
    module = imported(artifact / "program" / "network.py")
    (written,) = (x for x in vars(module).values() if isinstance(x, type) and issubclass(x, nn.Module))
    network: Any = written()
    network.load_state_dict(load_file(artifact / "program" / "weights.safetensors"))
    return network.eval()


def samples(folder: Path, name: str) -> tuple[torch.Tensor, NDArray[Any]]:
    x, y = (torch.cat(parts) for parts in zip(*getattr(imported(folder / "model.py"), name)(), strict=True))
    return x, y.numpy()


def predictions(model: Path, x: torch.Tensor) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one[None].numpy()})[0] for one in x])


def test_a_budget_gives_widths_and_precision(brief: tuple[Command, dict[str, Any]]) -> None:
    command, manifest = brief
    assert manifest["method"] == "differentiable"
    assert manifest["budget"]["met"]
    assert manifest["speedup"] >= 2.5
    widths = {entry["group"]: entry["kept"] for entry in manifest["widths"]}
    assert set(widths) == {"a", "b"}
    assert min(widths.values()) < 32
    assert manifest["assignment"]
    assert [entry["name"] for entry in manifest["contest"]] == ["searched"]
    assert manifest["contest"][0]["chosen"]
    assert [record["epoch"] for record in manifest["search"]] == [1, 2, 3]
    assert all(0 <= record["entropy"] <= 1 and record["expected_us"] > 0 for record in manifest["search"])
    assert [record["epoch"] for record in manifest["training"]] == [1, 2, 3, 4, 5, 6]
    assert (command.folder / "out" / "report.html").is_file()


def test_the_search_can_be_watched(brief: tuple[Command, dict[str, Any]]) -> None:
    folder = brief[0].folder / "curves" / "differentiable"
    curves = EventAccumulator(str(folder)).Reload()
    assert {"search/expected_by_budget", "search/multiplier", "search/entropy", "train/loss", "train/rate"} <= {
        *curves.Tags()["scalars"]
    }
    assert [point.step for point in curves.Scalars("epoch/loss")] == [1, 2, 3]
    entropies = [point.value for point in curves.Scalars("search/entropy")]
    assert len(entropies) >= 2
    assert all(0 <= one <= 1 for one in entropies)
    trained = EventAccumulator(str(folder.parent / "differentiable_searched")).Reload()
    assert len(trained.Scalars("epoch/metric")) == 3


def test_what_was_trained_is_what_runs(brief: tuple[Command, dict[str, Any]]) -> None:
    """Plain ONNX Runtime gives the accuracy of the last epoch and the predictions of the program with its rounding."""
    command, manifest = brief
    x, y = samples(command.folder, "validation_data")
    found = predictions(command.folder / "out" / "model.onnx", x)
    with torch.no_grad():
        expected = rebuilt(command.folder / "out")(x).numpy()
    one = 100 / len(y)
    assert 100 * (found.argmax(1) == y).mean() == pytest.approx(manifest["training"][-1]["metric"], abs=1.01 * one)
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.99
    assert manifest["compiled"]["accuracy"] > 85


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network(tmp_path: Path, brief: tuple[Command, dict[str, Any]]) -> None:
    """Assignment, widths, and every bit of the file, with nothing kept from before."""
    _, first = brief
    second = Command(tmp_path, tmp_path / "cache").write(SOURCE).compile(*BRIEF)
    for part in ("assignment", "widths", "search", "files"):
        assert first[part] == second[part]
    assert first["training"] != second["training"]  # the seconds tell that it was done again


@pytest.mark.slow
def test_controls_compete_at_the_same_latency(search: Command) -> None:
    """The best mean over the seeds is taken, or what is as good and faster; the report says which that is."""
    manifest = search.compile("--speedup", "2.5x", "--epochs", 2, "--controls", "--seeds", 2)
    contest = {entry["name"]: entry for entry in manifest["contest"]}
    assert set(contest) >= {"searched", "homogeneous", "random 1", "random 2"}
    assert all(entry["speedup"] >= 2.5 for entry in contest.values())
    assert all(len(entry["metrics"]) == 2 for entry in contest.values())
    means = {name: sum(entry["metrics"]) / 2 for name, entry in contest.items()}
    (chosen,) = (name for name, entry in contest.items() if entry["chosen"])
    best = max(means, key=lambda name: means[name])
    assert means[chosen] >= means[best] - stdev(contest[best]["metrics"])
    assert means[chosen] == means[best] or contest[chosen]["speedup"] > contest[best]["speedup"]
    told = str(verdict(Manifest.model_validate(manifest)))
    assert chosen == "searched" or f"'{chosen}'" in told, told
    assert manifest["speedup"] == pytest.approx(contest[chosen]["speedup"])
    assert manifest["training"][-1]["metric"] == max(contest[chosen]["metrics"])


@pytest.mark.slow
def test_a_front_comes_from_one_search(search: Command) -> None:
    """Each point is an artifact of its own, slower than the next one; the search itself is done once."""
    before = len(search.trainings)
    manifest = search.compile("--speedup", "3x", "--epochs", 2, "--pareto", 3)
    assert [point["number"] for point in manifest["front"]] == [1, 2]
    ends = [manifest[part]["latency_us"]["median"] for part in ("baseline", "compiled")]
    points = [point["latency_us"]["median"] for point in manifest["front"]]
    latencies = [ends[0], *points, ends[1]]
    assert latencies == sorted(latencies, reverse=True)
    assert len(search.trainings) - before <= 1 + 3
    x, _ = samples(search.folder, "validation_data")
    for point in manifest["front"]:
        folder = search.folder / "out" / "front" / str(point["number"])
        assert predictions(folder / "model.onnx", x[:4]).shape == (4, 2)
        assert {"manifest.json", "report.html", "program"} <= {path.name for path in folder.iterdir()}
        own = json.loads((folder / "manifest.json").read_text())
        assert own["speedup"] == point["speedup"] >= own["budget"]["value"]


@pytest.mark.slow
def test_points_of_a_front_differ(search: Command) -> None:
    manifest = search.compile("--speedup", "3x", "--epochs", 2, "--pareto", 3)
    points = [manifest["compiled"], *manifest["front"]]
    assert len({point["latency_us"]["median"] for point in points}) == 3


def test_widths_alone(search: Command) -> None:
    """On a target without integers for convolutions only their channels are chosen."""
    text = search("targets", "show", "arm").out
    schemes, hardware = text.index("[schemes]"), text.index("[hardware]")
    board = text[:schemes] + '[schemes]\nint8 = ["linear"]\n\n' + text[hardware:]
    (search.folder / "board.toml").write_text(board)
    manifest = search.compile("--target", "board.toml", "--speedup", "2.5x", "--epochs", 2)
    assert set(manifest["assignment"]) <= {"fc"}
    assert manifest["speedup"] >= 2.5
    assert any(entry["kept"] < entry["channels"] for entry in manifest["widths"])


def test_all_channels_may_be_told_to_stay(search: Command) -> None:
    manifest = search.compile("--speedup", "1.2x", "--epochs", 2, "--fixed-widths")
    assert all(entry["kept"] == entry["channels"] for entry in manifest["widths"])
    assert manifest["assignment"]
    assert manifest["speedup"] >= 1.2


FROZEN = SOURCE.replace("(self.an(self.a(x)))", "(self.an(self.a(x))).cumsum(1)").replace(
    "(self.bn(self.b(x)))", "(self.bn(self.b(x))).cumsum(1)"
)


def test_precision_alone(search: Command) -> None:
    """Where no channel can go, only the precision is chosen; the report says why. On one level, with noisy weights."""
    manifest = search.write(FROZEN).compile(
        "--speedup", "1.2x", "--epochs", 2, "--search-level", "single", "--weight-noise", 0.2
    )
    assert manifest["widths"] == []
    assert manifest["assignment"]
    assert manifest["speedup"] >= 1.2
    assert any("its channels stay" in note for note in manifest["notes"])


UNLABELLED = SOURCE.replace("yield found[index]", "yield found[index][0]").replace("def validation_data", "def unused")


def test_without_labels_the_original_teaches(search: Command) -> None:
    manifest = search.write(UNLABELLED).compile(*BRIEF, "--importance", "group_l2")
    assert manifest["speedup"] >= 2.5
    assert manifest["contest"][0]["metrics"] == []
    assert manifest["compiled"]["accuracy"] > 80


@pytest.mark.slow
def test_without_labels_nothing_else_must_be_said(search: Command) -> None:
    assert search.write(UNLABELLED).search("--speedup", "2.5x", "--epochs", 2).code == 0


@pytest.mark.slow
def test_this_machine_measures(tmp_path: Path) -> None:
    """Every latency is measured, the budget is met by the artifact, and the contest was at the same budget."""
    command = Command(tmp_path, tmp_path / "cache").write(SOURCE)
    manifest = command.compile("--target", "host", "--speedup", "2x", "--epochs", 4, "--controls", "--seeds", 1)
    assert manifest["budget"]["met"]
    assert manifest["speedup"] >= 2
    assert manifest["compiled"]["latency_us"]["provenance"] == "measured"
    assert all(entry["speedup"] >= 2 for entry in manifest["contest"])
