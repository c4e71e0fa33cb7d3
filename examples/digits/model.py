"""A small residual network on scikit-learn's digits: what hwcomp needs to know of a model, in plain PyTorch.

The data set comes with scikit-learn, so nothing is downloaded. Its 8x8 images are enlarged to 32x32.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

CHECKPOINT = Path(__file__).with_name("digits.safetensors")
SPLIT_SEED = 0
TEST_FRACTION = 0.25
PIXEL_MEAN = 4.88  # of the enlarged training images, whose pixels lie in [0, 16]
PIXEL_STD = 5.18

example_inputs = (torch.zeros(1, 1, 32, 32),)


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


class DigitsNet(nn.Module):
    """Three blocks, 32, 64 and 96 channels wide: 0.22 M parameters, 43 MMAC."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(32)
        self.blocks = nn.Sequential(Block(32, 32, 1), Block(32, 64, 2), Block(64, 96, 2))
        self.fc = nn.Linear(96, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 1, 32, 32) to logits (N, classes)."""
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


def model() -> nn.Module:
    """Return the trained network."""
    network = DigitsNet()
    network.load_state_dict(load_file(CHECKPOINT))
    return network.eval()


def read_split(split: str) -> tuple[Tensor, Tensor]:
    """Return "train" or "test" as ((N, 1, 32, 32) float in [0, 16], (N,) int64): a stratified split by a fixed seed."""
    digits = load_digits()
    parts = train_test_split(
        digits.images, digits.target, test_size=TEST_FRACTION, stratify=digits.target, random_state=SPLIT_SEED
    )
    images, labels = (torch.from_numpy(part) for part in parts[["train", "test"].index(split) :: 2])
    return F.interpolate(images.float().unsqueeze(1), size=(32, 32), mode="bilinear"), labels


def normalise(images: Tensor) -> Tensor:
    """Map (N, 1, 32, 32) pixels in [0, 16] to what the network was trained on."""
    return (images - PIXEL_MEAN) / PIXEL_STD


def batches(split: str, batch: int = 100) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, labels) of a split in order."""
    all_images, all_labels = read_split(split)
    for images, labels in zip(all_images.split(batch), all_labels.split(batch), strict=True):
        yield normalise(images), labels


def train_data() -> Iterator[tuple[Tensor, Tensor]]:
    """Give the 1,347 training images."""
    return batches("train")


def eval_data() -> Iterator[tuple[Tensor, Tensor]]:
    """Give the 450 test images."""
    return batches("test")
