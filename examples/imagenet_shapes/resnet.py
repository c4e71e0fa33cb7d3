"""ResNet-18 and ResNet-50 (He et al., 2015), with the stride in the 3x3 convolution of a bottleneck."""

from torch import Tensor, nn


def conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a padded convolution and its BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out_channels)
    )


class ResidualBlock(nn.Module):
    """A branch of convolutions added to its input, which is projected where the shape changes."""

    def __init__(self, in_channels: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        out_channels = width * expansion
        if expansion == 1:
            layers = [conv_bn(in_channels, width, 3, stride), nn.ReLU(), conv_bn(width, width, 3)]
        else:
            layers = [conv_bn(in_channels, width, 1), nn.ReLU(), conv_bn(width, width, 3, stride), nn.ReLU()]
            layers.append(conv_bn(width, out_channels, 1))
        self.branch = nn.Sequential(*layers)
        same_shape = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same_shape else conv_bn(in_channels, out_channels, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, width * expansion, H / stride, W / stride)."""
        return self.relu(self.branch(x) + self.shortcut(x))


class ResNet(nn.Module):
    """Four stages of residual blocks at 64, 128, 256 and 512 channels times the expansion."""

    def __init__(self, blocks: tuple[int, ...], expansion: int, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        layers: list[nn.Module] = []
        channels = 64
        for stage, count in enumerate(blocks):
            width = 64 << stage
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(ResidualBlock(channels, width, stride, expansion))
                channels = width * expansion
        self.blocks = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, classes)."""
        return self.fc(self.pool(self.blocks(self.stem(x))).flatten(1))


def resnet18() -> nn.Module:
    """Return ResNet-18: 1.8 GMAC, 11.7 M parameters."""
    return ResNet((2, 2, 2, 2), expansion=1)


def resnet50() -> nn.Module:
    """Return ResNet-50: 4.1 GMAC, 25.6 M parameters."""
    return ResNet((3, 4, 6, 3), expansion=4)
