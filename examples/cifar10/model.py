"""ResNet-20 on CIFAR-10: what hwcomp needs to know of a model, in plain PyTorch.

The data set is read from the archive that the environment variable ``HWCOMP_CIFAR10`` names (its format is told in
``README.md`` beside this file); without it the network still compiles, with generated calibration inputs.
"""

import io
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

CHECKPOINT = Path(__file__).with_name("resnet20.safetensors")
CHANNEL_MEAN = torch.tensor([125.3, 123.0, 113.9]).view(1, 3, 1, 1)
CHANNEL_STD = torch.tensor([63.0, 62.1, 66.7]).view(1, 3, 1, 1)

example_inputs = (torch.zeros(1, 3, 32, 32),)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    """Three stages of three blocks, 16, 32 and 64 channels wide: 0.27 M parameters, 41 MMAC."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.blocks = nn.Sequential(*(Block(a, b, 1 if a == b else 2) for a, b in pairwise(widths)))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 3, 32, 32) to logits (N, classes)."""
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


def model() -> nn.Module:
    """Return the trained network."""
    network = ResNet20()
    network.load_state_dict(load_file(CHECKPOINT))
    return network.eval()


def read_split(split: str, start: int = 0, stop: int | None = None) -> tuple[Tensor, Tensor] | None:
    """Decode images ``start:stop`` of a split to ((N, 3, 32, 32) uint8, (N,) int64); None without the archive."""
    path = os.environ.get("HWCOMP_CIFAR10")
    if path is None:
        return None
    with np.load(path) as archive:
        offsets = archive[f"{split}_offsets"]
        labels = archive[f"{split}_labels"][start:stop].astype(np.int64)
        blob = archive[f"{split}_jpeg"].tobytes()
    stop = start + len(labels)
    spans = zip(offsets[start:stop], offsets[start + 1 : stop + 1], strict=True)
    images = [np.asarray(Image.open(io.BytesIO(blob[a:b])).convert("RGB")) for a, b in spans]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.from_numpy(labels)


def normalise(images: Tensor) -> Tensor:
    """Map (N, 3, 32, 32) uint8 to what the network was trained on."""
    return (images.float() - CHANNEL_MEAN) / CHANNEL_STD


def batches(split: str, stop: int | None, batch: int = 100) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, labels) of a split in order."""
    decoded = read_split(split, 0, stop)
    assert decoded is not None
    for images, labels in zip(decoded[0].split(batch), decoded[1].split(batch), strict=True):
        yield normalise(images), labels


def train_data() -> Iterator[tuple[Tensor, Tensor]] | None:
    """Give 2,000 training images: enough to calibrate and to choose by."""
    return batches("train", 2000) if "HWCOMP_CIFAR10" in os.environ else None


def eval_data() -> Iterator[tuple[Tensor, Tensor]] | None:
    """Give the 10,000 test images."""
    return batches("test", None) if "HWCOMP_CIFAR10" in os.environ else None
