"""Random small networks whose kernels are the sample that a general latency table is measured on.

Kernels are measured inside networks, because a runtime's fusions and memory layouts come from the neighbours. Every
network is a chain of blocks as they stand in the models people use; shapes are drawn on and off the vector width.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

SIZES = (4, 7, 8, 10, 14, 16, 20, 28, 32, 40, 56, 64, 80, 112)
"""Sides of images, in pixels."""

TOKENS = (1, 16, 49, 64, 128, 196, 256)
PER_PIXEL = 64 * 64
"""Multiply-accumulates per pixel of a usual convolution: larger images are drawn only where so many are wanted."""

VECTOR = 8
"""Channels that a runtime handles at once, at least."""

OFF_VECTOR_SHARE = 0.2
MAX_MACS, MAX_ELEMENTS = 250_000_000, 1_600_000
"""Of one kernel; the second in numbers of its output."""

BLOCKS = (4, 7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A random network and an input for it.

    Attributes:
        kinds: of its blocks.
        model: the network, with random weights.
        inputs: of the network, (N, C, H, W) for images or (N, T, C) for tokens.
    """

    kinds: tuple[str, ...]
    model: nn.Module
    inputs: tuple[Tensor]

    @property
    def batch(self) -> int:
        """Inputs that are computed at once."""
        return len(self.inputs[0])

    def of_batch(self, size: int) -> "Sample":
        """Return the network with an input of another batch."""
        return replace(self, inputs=(torch.randn(size, *self.inputs[0].shape[1:]),))


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.body, self.after = body, after

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.after(x + self.body(x))
        return result


class _Branches(nn.Module):
    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.first, self.second = branches

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x)], dim=1)


class _Gate(nn.Module):
    """Squeeze and excite."""

    def __init__(self, channels: int, squeezed: int, gate: nn.Module) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.act, self.gate = nn.ReLU(), gate

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.gate(self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))))
        return x * weight


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        y = self.norm(x)
        q, k, v = (f(y).reshape(n, t, self.heads, c // self.heads).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        result: Tensor = x + self.out(mixed.transpose(1, 2).reshape(n, t, c))
        return result


class _Head(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pool, self.classify = nn.AdaptiveAvgPool2d(1), nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.classify(torch.flatten(self.pool(x), 1))
        return result


class _Draw:
    """Draws blocks for the shape that the chain has reached."""

    def __init__(self, generator: random.Random, channels: int, size: int, max_macs: int) -> None:
        self.random, self.channels, self.size, self.max_macs = generator, channels, size, max_macs

    def width(self, low: int = 8, high: int = 1024) -> int:
        """Return a number of channels, uniform in the logarithm, most of them multiples of the vector width."""
        drawn = int(low * float(high / low) ** self.random.random())
        on_vector = max(VECTOR, drawn // VECTOR * VECTOR)
        return drawn if self.random.random() < OFF_VECTOR_SHARE else on_vector

    def out_width(self, window: int, stride: int, groups: int = 1) -> int:
        """Return output channels with which the convolution is neither too much work nor too large."""
        pixels = max(1, self.size // stride) ** 2
        work = self.max_macs // (pixels * window**2 * max(1, self.channels // groups))
        high = min(1024, work, MAX_ELEMENTS // pixels)
        return max(8, self.width(8, max(9, high)))

    def activation(self) -> nn.Module:
        """Return an activation; the ones that runtimes fuse come most often."""
        kinds: list[Callable[[], nn.Module]] = [
            nn.ReLU, nn.ReLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Identity, nn.Sigmoid,
        ]  # fmt: skip
        return self.random.choice(kinds)()

    def convolution(self, window: int, stride: int, channels: int, groups: int = 1) -> nn.Module:
        """Return a convolution from the current shape with its activation, and go on from its output."""
        layer = nn.Conv2d(self.channels, channels, window, stride, window // 2, groups=groups)
        self.channels, self.size = channels, (self.size + 2 * (window // 2) - window) // stride + 1
        return nn.Sequential(layer, self.activation())

    def stride(self) -> int:
        """Return 1, or sometimes 2 while the image is large enough."""
        return 2 if self.size >= 14 and self.random.random() < 0.3 else 1

    def dense(self) -> nn.Module:
        """Convolution over all channels."""
        window, stride = self.random.choice((1, 1, 1, 3, 3, 5, 7)), self.stride()
        return self.convolution(window, stride, self.out_width(window, stride))

    def depthwise(self) -> nn.Module:
        """Expansion, depthwise convolution and projection, as in mobile networks."""
        wide = self.out_width(1, 1)
        window, stride = self.random.choice((3, 3, 5, 7)), self.stride()
        layers = [self.convolution(1, 1, wide), self.convolution(window, stride, wide, groups=wide)]
        if self.random.random() < 0.4:
            gate = self.random.choice((nn.Sigmoid, nn.Hardsigmoid))()
            layers.append(_Gate(self.channels, max(8, wide // self.random.choice((4, 16))), gate))
        return nn.Sequential(*layers, self.convolution(1, 1, self.out_width(1, 1)))

    def grouped(self) -> nn.Module:
        """Grouped convolution after one that gives it a multiple of the groups."""
        groups = self.random.choice((2, 4, 8, 16))
        widest = isqrt(self.max_macs * groups // (3 * self.size) ** 2)
        wide = max(groups, min(widest, self.out_width(1, 1)) // groups * groups)
        return nn.Sequential(self.convolution(1, 1, wide), self.convolution(3, self.stride(), wide, groups=groups))

    def residual(self) -> nn.Module:
        """Residual block of two convolutions."""
        channels, window = self.channels, self.random.choice((1, 3))
        inner = min(self.out_width(window, 1), 512)
        body = nn.Sequential(self.convolution(window, 1, inner), nn.Conv2d(inner, channels, window, 1, window // 2))
        self.channels = channels
        return _Residual(body, self.activation())

    def branches(self) -> nn.Module:
        """Two convolutions side by side, concatenated."""
        channels, size, made, total = self.channels, self.size, [], 0
        for _ in range(2):
            self.channels, self.size = channels, size
            window = self.random.choice((1, 3))
            made.append(self.convolution(window, 1, min(512, self.out_width(window, 1))))
            total += self.channels
        self.channels = total
        return _Branches(made)

    def pooling(self) -> nn.Module:
        """Maximum or mean over a window."""
        window = self.random.choice((2, 3))
        kind = self.random.choice((nn.MaxPool2d, nn.AvgPool2d))
        self.size = (self.size + 2 * (window // 2) - window) // 2 + 1
        return kind(window, 2, window // 2)


IMAGE_BLOCKS = ("dense", "depthwise", "grouped", "residual", "branches", "pooling")
KINDS = (*IMAGE_BLOCKS, "tokens")


def draw_sample(
    generator: random.Random, weights: Mapping[str, float] | None = None, max_macs: int = MAX_MACS
) -> Sample:
    """Return a random network.

    Args:
        generator: of everything but the weights.
        weights: of the kinds of blocks, to draw some more often.
        max_macs: multiply-accumulates of one kernel, about.
    """
    weights = weights or {}
    kinds = {kind: weights.get(kind, 1.0) for kind in KINDS}
    first = generator.choices(list(kinds), list(kinds.values()))[0]
    if first == "tokens":
        return _tokens(generator, max_macs)
    size = generator.choice([size for size in SIZES if size**2 * PER_PIXEL <= max_macs])
    draw = _Draw(generator, 3, size, max_macs)
    start = draw.width(3, max(4, min(512, MAX_ELEMENTS // size**2)))
    draw.channels = start
    names = [first, *generator.choices(IMAGE_BLOCKS, [kinds[k] for k in IMAGE_BLOCKS], k=generator.randint(*BLOCKS))]
    blocks = []
    for name in names:
        if name == "pooling" and draw.size < 4:
            continue
        blocks.append(getattr(draw, name)())
    model = nn.Sequential(*blocks, _Head(draw.channels, draw.width(10, 1000)))
    return Sample(kinds=tuple(names), model=model.eval(), inputs=(torch.randn(1, start, size, size),))


def _tokens(generator: random.Random, max_macs: int) -> Sample:
    draw = _Draw(generator, 8, 1, max_macs)
    heads, tokens = generator.choice((1, 2, 3, 4, 6, 8)), generator.choice(TOKENS)
    width = heads * generator.choice((16, 32, 64))
    blocks: list[nn.Module] = []
    for _ in range(generator.randint(1, 3)):
        hidden = max(8, min(draw.width(16, 2048), max_macs // (tokens * width)))
        act = generator.choice((nn.GELU, nn.ReLU, nn.SiLU))()
        feed_forward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), act, nn.Linear(hidden, width))
        blocks += [_Attention(width, heads), _Residual(feed_forward, nn.Identity())]
    blocks.append(nn.Linear(width, draw.width(10, 1000)))
    return Sample(kinds=("tokens",), model=nn.Sequential(*blocks).eval(), inputs=(torch.randn(1, tokens, width),))
