"""The CIFAR-10 example: its batches, and that choosing and testing see images that training does not."""

import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from hwcomp.workload import load_workload, samples

FOLDER = Path(__file__).parents[2] / "examples" / "cifar10"
IMAGES = 300


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example's data module, with an archive of grey images whose brightness tells their label."""
    labels = np.arange(IMAGES) % 10
    files = []
    for label in labels:
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (20 * label + 30,) * 3).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    one_split = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)], dtype=np.int64),
        "labels": labels.astype(np.uint8),
    }
    arrays = {f"{split}_{key}": value for split in ("train", "test") for key, value in one_split.items()}
    np.savez(tmp_path / "archive.npz", **arrays)
    monkeypatch.setenv("HWCOMP_CIFAR10", str(tmp_path / "archive.npz"))
    load_workload(str(FOLDER / "model.py"))
    return sys.modules["cifar10_data"]


def brightest(data: ModuleType, images: torch.Tensor) -> torch.Tensor:
    """The label of each image; shifting adds black pixels, so the middle tells."""
    pixels = images * data.CHANNEL_STD + data.CHANNEL_MEAN
    return ((pixels[:, 0, 16, 16] - 30) / 20).round().long()


def test_training_batches_are_shuffled_anew_and_hold_each_image_once(data: ModuleType) -> None:
    batches = data.TrainingBatches(10, 10 + 2 * data.BATCH + 5)
    first, second = list(batches), list(batches)
    assert len(batches) == len(first) == len(second) == 2
    for images, labels in first:
        assert images.shape == (data.BATCH, 3, 32, 32)
        assert torch.equal(brightest(data, images), labels)
    assert not torch.equal(first[0][1], second[0][1])
    counts = torch.cat([labels for _, labels in first]).bincount(minlength=10)
    assert counts.sum() == 2 * data.BATCH
    assert counts.max() <= 27


def test_a_pass_is_repeated_by_seeding_it(data: ModuleType) -> None:
    passes = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        passes.append(next(iter(data.TrainingBatches(0, 200)))[0])
    assert torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[0], passes[2])


def test_augmentation_shifts_and_mirrors_whole_images(data: ModuleType) -> None:
    picture = torch.arange(32 * 32).remainder(251).to(torch.uint8).view(1, 1, 32, 32).expand(64, 3, 32, 32)
    changed = data.augment(picture, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(picture[0, 0], (4, 4, 4, 4))
    windows = [padded[y : y + 32, x : x + 32] for y in range(9) for x in range(9)]
    wanted = torch.stack(windows + [window.flip(1) for window in windows])
    found = [(wanted == image[0]).all(2).all(1).nonzero() for image in changed]
    assert all(len(index) == 1 for index in found)
    assert {int(index) >= 81 for index in found} == {False, True}


def test_calibration_and_test_images_are_plain_and_in_order(data: ModuleType) -> None:
    workload = load_workload(str(FOLDER / "model.py"))
    assert workload.calibration_data is not None
    assert workload.eval_data is not None
    (first, targets), *_ = samples(workload.calibration_data() or [], workload.example_inputs)
    assert targets is None
    expected = data.normalise(data.read_split("train", 0, 1)[0])
    assert torch.equal(first[0], expected)
    labels = torch.cat([labels for _, labels in workload.eval_data() or []])
    assert torch.equal(labels, torch.arange(IMAGES) % 10)


def test_images_to_choose_by_are_kept_from_training(data: ModuleType) -> None:
    assert data.TRAINED.stop == data.HELD_OUT.start
    assert (data.HELD_OUT.stop - data.HELD_OUT.start, data.HELD_OUT.stop) == (2_000, 50_000)


def test_without_the_archive_there_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HWCOMP_CIFAR10", raising=False)
    workload = load_workload(str(FOLDER / "model.py"))
    for source in (workload.train_data, workload.eval_data, workload.calibration_data):
        assert source is not None
        assert source() is None
    assert sys.modules[workload.model.__module__].validation_data() is None


def test_the_untrained_networks_are_the_same_each_time() -> None:
    first, second = (load_workload(f"{FOLDER / 'model.py'}:resnet20_scratch").model for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    trained = load_workload(f"{FOLDER / 'model.py'}:resnet20").model
    assert trained.state_dict().keys() == first.state_dict().keys()
    assert not torch.equal(trained.fc.weight, first.fc.weight)
