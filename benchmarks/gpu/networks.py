"""Networks of the bundle, with weights that look random to the multipliers and take little room in an archive."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]

PERIOD = 4093
"""Values that all weights of a network repeat: 16 KiB in float32, which archives find again.

A prime: no length of a row divides it, so that no two filters are equal, and the rows of a transposed or tiled matrix
still repeat each other.
"""

SIDE = 224
SEED = 0


def _imagenet(file: str, name: str) -> nn.Module:
    folder = str(ROOT / "examples" / "imagenet_shapes")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    network: nn.Module = getattr(__import__(file), name)()
    return network


def _tiny() -> nn.Module:
    layers = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet50": (lambda: _imagenet("resnet", "resnet50"), SIDE),
    "mobilenet_v2": (lambda: _imagenet("mobile", "mobilenet_v2"), SIDE),
    "vit_tiny": (lambda: _imagenet("vit", "vit_tiny"), SIDE),
    "tiny": (_tiny, 32),
}
"""Name -> what builds it, and the side of its images; "tiny" is for rehearsals."""


def example_input(name: str, batch: int, seed: int = SEED) -> Tensor:
    """Return random images (batch, 3, side, side) of unit variance."""
    side = NETWORKS[name][1]
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


def with_weights(name: str, weights: Path) -> nn.Module:
    """Return a network with the weights that `made` wrote to a file."""
    from safetensors.torch import load_file

    with torch.device("meta"):
        network = NETWORKS[name][0]()
    network.load_state_dict(load_file(weights), assign=True)
    return network.eval()


def made(name: str) -> nn.Module:
    r"""Return a network with weights that repeat one block of random numbers.

    Value :math:`i` of a weight is :math:`b_{i \bmod 4093} \sqrt{g / n}` with normally distributed :math:`b`, inputs
    :math:`n` of an output, and :math:`g` 2 for convolutions, 1 for everything else. Values are
    distributed as random ones are, but 100 MB are packed into a few. BatchNorm gets the statistics of random images,
    one variance for all channels of a layer: with one for each, folding it would make all values different.
    """
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = NETWORKS[name][0]()
        block = torch.randn(PERIOD)
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        with torch.no_grad():
            for module in network.modules():
                gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0
                for weight in module.parameters(recurse=False):
                    if weight.ndim > 1:
                        weight.copy_(_repeated(block, weight.shape) * (gain / weight[0].numel()) ** 0.5)
            for norm in norms:
                norm.momentum = None  # the statistics of the images below, not their share
            network.train()(example_input(name, 4))
            for norm in norms:
                assert norm.running_var is not None
                norm.running_var.fill_(float(norm.running_var.mean()))
    return network.eval()


def _repeated(block: Tensor, shape: torch.Size) -> Tensor:
    count = shape.numel()
    return block.repeat(-(-count // PERIOD))[:count].reshape(shape)
