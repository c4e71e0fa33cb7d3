"""CIFAR-10 as tensors: decoded once, kept as bytes, augmented while training.

The data set is read from the archive that the environment variable ``HWCOMP_CIFAR10`` names (its format is told in
``README.md`` beside this file).
"""

import io
import os
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor

ARCHIVE = "HWCOMP_CIFAR10"
CHANNEL_MEAN = torch.tensor([125.3, 123.0, 113.9]).view(1, 3, 1, 1)
CHANNEL_STD = torch.tensor([63.0, 62.1, 66.7]).view(1, 3, 1, 1)
BATCH = 128
PAD = 4
TRAINED = slice(0, 48_000)
HELD_OUT = slice(48_000, 50_000)
"""Of the training images: the last 2,000 are for choosing, never for training."""


def is_available() -> bool:
    """Return whether the archive is named."""
    return ARCHIVE in os.environ


def read_split(split: str, start: int = 0, stop: int | None = None) -> tuple[Tensor, Tensor]:
    """Decode images ``start:stop`` of a split to ((N, 3, 32, 32) uint8, (N,) int64); the second time from memory."""
    return _decoded(os.environ[ARCHIVE], split, start, stop)


@lru_cache
def _decoded(path: str, split: str, start: int, stop: int | None) -> tuple[Tensor, Tensor]:
    with np.load(path) as archive:
        offsets = archive[f"{split}_offsets"]
        labels = archive[f"{split}_labels"][start:stop].astype(np.int64)
        blob = archive[f"{split}_jpeg"].tobytes()
    stop = start + len(labels)
    spans = zip(offsets[start:stop], offsets[start + 1 : stop + 1], strict=True)
    images = [np.asarray(Image.open(io.BytesIO(blob[a:b])).convert("RGB")) for a, b in spans]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.from_numpy(labels)


def normalise(images: Tensor) -> Tensor:
    """Map (N, 3, 32, 32) uint8 to what the networks are trained on."""
    return (images.float() - CHANNEL_MEAN) / CHANNEL_STD


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image of (N, 3, 32, 32) by up to four pixels and mirror half of them."""
    n, _, height, width = images.shape
    padded = F.pad(images, (PAD, PAD, PAD, PAD))
    top, left = torch.randint(0, 2 * PAD + 1, (2, n, 1, 1), generator=generator)
    columns = torch.arange(width).view(1, 1, width).expand(n, 1, width)
    mirrored = torch.rand(n, 1, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, width - 1 - columns, columns) + left
    rows = torch.arange(height).view(1, height, 1) + top
    return padded.permute(0, 2, 3, 1)[torch.arange(n).view(n, 1, 1), rows, columns].permute(0, 3, 1, 2)


def plain_batches(split: str, start: int = 0, stop: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, labels) in order, as they are."""
    images, labels = read_split(split, start, stop)
    for some, their in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        yield normalise(some), their


class TrainingBatches:
    """Batches (images, labels) of augmented images, shuffled anew in each pass; the incomplete last one is left out.

    Order and augmentation follow from the state of torch's global generator when a pass begins, as with torch's own
    loaders: whoever seeds that before each pass can repeat any pass.
    """

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return (self.stop - self.start) // BATCH

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = read_split("train", self.start, self.stop)
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        order = torch.randperm(len(images), generator=generator)
        for index in order[: len(self) * BATCH].split(BATCH):
            yield normalise(augment(images[index], generator)), labels[index]
