"""Networks of ImageNet's shapes with random weights, for latency work: ``model.py:resnet50`` picks one.

The weights are drawn by a fixed seed and the BatchNorm statistics are those of random images, so that activations
have the ranges of a working network; accuracy means nothing here.
"""

from collections.abc import Callable

import mobile
import resnet
import torch
import vit
from torch import Tensor, nn

SEED = 0

example_inputs = (torch.zeros(1, 3, 224, 224),)


def _with_random_weights(build: Callable[[], nn.Module]) -> nn.Module:
    generator_state = torch.get_rng_state()
    torch.manual_seed(SEED)
    network = build()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in")
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # cumulative average over the batches below
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 224, 224))
    torch.set_rng_state(generator_state)
    return network.eval()


def calibration_data() -> list[Tensor]:
    """Give 64 random images of unit variance."""
    generator = torch.Generator().manual_seed(SEED)
    return [torch.randn(1, 3, 224, 224, generator=generator) for _ in range(64)]


def resnet18() -> nn.Module:
    """Return ResNet-18."""
    return _with_random_weights(resnet.resnet18)


def resnet50() -> nn.Module:
    """Return ResNet-50."""
    return _with_random_weights(resnet.resnet50)


def mobilenet_v2() -> nn.Module:
    """Return MobileNetV2."""
    return _with_random_weights(mobile.mobilenet_v2)


def mobilenet_v3_large() -> nn.Module:
    """Return MobileNetV3-Large."""
    return _with_random_weights(mobile.mobilenet_v3_large)


def efficientnet_b0() -> nn.Module:
    """Return EfficientNet-B0."""
    return _with_random_weights(mobile.efficientnet_b0)


def vit_tiny() -> nn.Module:
    """Return ViT-Tiny/16."""
    return _with_random_weights(vit.vit_tiny)


model = resnet18
