"""Networks of inverted residual blocks: MobileNetV2 (2018), MobileNetV3-Large (2019), EfficientNet-B0 (2019)."""

from collections.abc import Callable

from torch import Tensor, nn

Activation = Callable[[], nn.Module]


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of the divisor, never below 90 % of what was asked."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def conv_bn_act(
    in_channels: int, out_channels: int, kernel: int, stride: int, activation: Activation, groups: int = 1
) -> nn.Sequential:
    """Return a padded convolution, its BatchNorm and an activation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), activation())


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from its mean."""

    def __init__(self, channels: int, squeezed: int, activation: Activation, gate: Activation) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x * self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter by a depthwise one, project back by a 1x1 one."""

    def __init__(
        self,
        channels: tuple[int, int, int],
        kernel: int,
        stride: int,
        activation: Activation,
        squeeze_excite: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        in_channels, expanded, out_channels = channels
        layers: list[nn.Module] = []
        if expanded != in_channels:
            layers.append(conv_bn_act(in_channels, expanded, 1, 1, activation))
        layers.append(conv_bn_act(expanded, expanded, kernel, stride, activation, groups=expanded))
        if squeeze_excite is not None:
            layers.append(squeeze_excite(expanded))
        layers.append(conv_bn_act(expanded, out_channels, 1, 1, nn.Identity))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        return x + self.layers(x) if self.residual else self.layers(x)


def classifier(features: list[nn.Module], head: list[nn.Module]) -> nn.Sequential:
    """Join convolutional features and a head of linear layers by global average pooling."""
    return nn.Sequential(nn.Sequential(*features), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Sequential(*head))


def mobilenet_v2(classes: int = 1000) -> nn.Module:
    """Return MobileNetV2 at width 1.0: 0.30 GMAC, 3.5 M parameters."""
    features: list[nn.Module] = [conv_bn_act(3, 32, 3, 2, nn.ReLU6)]
    channels = 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, out_channels, count, first_stride in stages:
        for block in range(count):
            shape = (channels, channels * expansion, out_channels)
            features.append(InvertedResidual(shape, 3, first_stride if block == 0 else 1, nn.ReLU6))
            channels = out_channels
    features.append(conv_bn_act(channels, 1280, 1, 1, nn.ReLU6))
    return classifier(features, [nn.Dropout(0.2), nn.Linear(1280, classes)])


def mobilenet_v3_large(classes: int = 1000) -> nn.Module:
    """Return MobileNetV3-Large at width 1.0: 0.22 GMAC, 5.5 M parameters."""

    def squeeze_excite(expanded: int) -> nn.Module:
        return SqueezeExcite(expanded, round_channels(expanded / 4), nn.ReLU, nn.Hardsigmoid)

    relu, swish = nn.ReLU, nn.Hardswish
    # kernel, expanded, out, squeeze-and-excite, activation, stride
    table: list[tuple[int, int, int, bool, Activation, int]] = [
        (3, 16, 16, False, relu, 1), (3, 64, 24, False, relu, 2), (3, 72, 24, False, relu, 1),
        (5, 72, 40, True, relu, 2), (5, 120, 40, True, relu, 1), (5, 120, 40, True, relu, 1),
        (3, 240, 80, False, swish, 2), (3, 200, 80, False, swish, 1), (3, 184, 80, False, swish, 1),
        (3, 184, 80, False, swish, 1), (3, 480, 112, True, swish, 1), (3, 672, 112, True, swish, 1),
        (5, 672, 160, True, swish, 2), (5, 960, 160, True, swish, 1), (5, 960, 160, True, swish, 1),
    ]  # fmt: skip
    features: list[nn.Module] = [conv_bn_act(3, 16, 3, 2, swish)]
    channels = 16
    for kernel, expanded, out_channels, gated, activation, stride in table:
        gate = squeeze_excite if gated else None
        features.append(InvertedResidual((channels, expanded, out_channels), kernel, stride, activation, gate))
        channels = out_channels
    features.append(conv_bn_act(channels, 960, 1, 1, swish))
    return classifier(features, [nn.Linear(960, 1280), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1280, classes)])


def efficientnet_b0(classes: int = 1000) -> nn.Module:
    """Return EfficientNet-B0: 0.39 GMAC, 5.3 M parameters."""
    features: list[nn.Module] = [conv_bn_act(3, 32, 3, 2, nn.SiLU)]
    channels = 32
    # expansion, kernel, stride, out, count
    stages = [
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
    ]  # fmt: skip
    for expansion, kernel, first_stride, out_channels, count in stages:
        for block in range(count):
            squeezed = max(1, channels // 4)

            def squeeze_excite(expanded: int, squeezed: int = squeezed) -> nn.Module:
                return SqueezeExcite(expanded, squeezed, nn.SiLU, nn.Sigmoid)

            shape = (channels, channels * expansion, out_channels)
            stride = first_stride if block == 0 else 1
            features.append(InvertedResidual(shape, kernel, stride, nn.SiLU, squeeze_excite))
            channels = out_channels
    features.append(conv_bn_act(channels, 1280, 1, 1, nn.SiLU))
    return classifier(features, [nn.Dropout(0.2), nn.Linear(1280, classes)])
