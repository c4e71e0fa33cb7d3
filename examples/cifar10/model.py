"""ResNet-20 on CIFAR-10: what hwcomp needs to know of a model, in plain PyTorch.

``model.py:resnet56`` and the other functions below give relatives of it. The data set is read from the archive that the
environment variable ``HWCOMP_CIFAR10`` names (its format is told in ``README.md`` beside this file); without it the
networks still compile, with generated calibration inputs.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from cifar10_data import HELD_OUT, TRAINED, TrainingBatches, is_available, plain_batches
from safetensors.torch import load_file
from torch import Tensor, nn

FOLDER = Path(__file__).parent
CALIBRATION = 2000
"""Images that calibration may read: more than it ever asks for."""

example_inputs = (torch.zeros(1, 3, 32, 32),)


class Padded(nn.Module):
    """A shortcut without parameters: leaves out pixels and adds channels that are zero."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + channels, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.channels))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected or padded where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, is_padded: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = (
                Padded(out_channels - in_channels, stride)
                if is_padded
                else nn.Sequential(
                    nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Three stages of blocks; 20 layers are 0.27 M parameters and 41 MMAC, 56 layers 0.86 M and 126 MMAC.

    Args:
        layers: 6 n + 2 for n blocks in each stage.
        widths: channels of the three stages.
        is_padded: whether shortcuts have no parameters, as in the first experiments with these networks ([He2016]_,
            option A), and not a projection (option B).
        classes: outputs.
    """

    def __init__(
        self,
        layers: int = 20,
        widths: tuple[int, int, int] = (16, 32, 64),
        *,
        is_padded: bool = False,
        classes: int = 10,
    ) -> None:
        super().__init__()
        each = (layers - 2) // 6
        self.conv = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        steps = [(widths[0], widths[0]), *pairwise(widths)]
        blocks = []
        for stage, (before, width) in enumerate(steps):
            for index in range(each):
                first = index == 0
                stride = 2 if first and stage else 1
                blocks.append(Block(before if first else width, width, stride, is_padded=is_padded))
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(widths[2], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 3, 32, 32) to logits (N, classes)."""
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


def checkpoint(layers: int) -> Path:
    """Return where the weights of a trained network lie."""
    return FOLDER / f"resnet{layers}.safetensors"


def _untrained(layers: int, *, is_padded: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet(layers, is_padded=is_padded).eval()


def model() -> nn.Module:
    """Return the trained ResNet-20."""
    return resnet20()


def resnet20() -> nn.Module:
    """Return the trained ResNet-20."""
    network = ResNet(20)
    network.load_state_dict(load_file(checkpoint(20)))
    return network.eval()


def resnet20_scratch() -> nn.Module:
    """Return a ResNet-20 with random weights."""
    return _untrained(20)


def resnet20_padded_scratch() -> nn.Module:
    """Return a ResNet-20 with random weights whose shortcuts have no parameters."""
    return _untrained(20, is_padded=True)


def resnet56() -> nn.Module:
    """Return ResNet-56: trained where ``train.py --layers 56`` has written its weights, else with random ones."""
    network = _untrained(56)
    if checkpoint(56).is_file():
        network.load_state_dict(load_file(checkpoint(56)))
    return network.eval()


def resnet56_padded_scratch() -> nn.Module:
    """Return a ResNet-56 with random weights whose shortcuts have no parameters."""
    return _untrained(56, is_padded=True)


def train_data() -> Iterable[tuple[Tensor, Tensor]] | None:
    """Give the first 48,000 training images, augmented and shuffled anew in each pass."""
    return TrainingBatches(TRAINED.start, TRAINED.stop) if is_available() else None


def validation_data() -> Iterator[tuple[Tensor, Tensor]] | None:
    """Give the other 2,000 training images, which training never sees, to choose by."""
    return plain_batches("train", HELD_OUT.start, HELD_OUT.stop) if is_available() else None


def calibration_data() -> Iterator[Tensor] | None:
    """Give training images as they are, without labels."""
    return (images for images, _ in plain_batches("train", 0, CALIBRATION)) if is_available() else None


def eval_data() -> Iterator[tuple[Tensor, Tensor]] | None:
    """Give the 10,000 test images."""
    return plain_batches("test") if is_available() else None
