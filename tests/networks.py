"""Small networks of the kinds that people build, for tests: each a function that gives a network, with its input."""

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

Build = Callable[[], nn.Module]
NETWORKS: dict[str, tuple[Build, tuple[int, ...]]] = {}
"""Name -> what builds it, and the shape of its input."""


def network(*shape: int) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Register a network under its name, with the shape of its input."""

    def register(build: type[nn.Module]) -> type[nn.Module]:
        NETWORKS[build.__name__] = build, shape
        return build

    return register


def example(file: str, factory: str, **options: object) -> nn.Module:
    """Return a network of ``examples/imagenet_shapes``, its weights as PyTorch draws them."""
    path = Path(__file__).parents[1] / "examples" / "imagenet_shapes" / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"example_{file}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, factory)(**options)


def alive(model: nn.Module) -> nn.Module:
    """Return a network after giving norms, biases and statistics values that matter."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.ndim == 1 and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if name.endswith(("running_var", "weight")) else tensor.normal_(0, 0.3)
    return model


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution without bias and its BatchNorm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


@network(2, 3, 8, 8)
class DenseNet(nn.Module):
    """Every layer reads all before it; a transition halves them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + 4 * i), nn.ReLU(), nn.Conv2d(8 + 4 * i, 4, 3, padding=1, bias=False))
            for i in range(3)
        )
        self.transition = nn.Sequential(nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 10, 1), nn.AvgPool2d(2))
        self.norm, self.head = nn.BatchNorm2d(10), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        x = self.transition(torch.cat(features, 1))
        return self.head(F.relu(self.norm(x)).mean((2, 3)))


@network(2, 3, 16, 16)
class UNet(nn.Module):
    """Down and up again by transposed convolutions, with what was before beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = conv_bn(3, 6), conv_bn(6, 8), conv_bn(8, 10)
        self.up2, self.up1 = nn.ConvTranspose2d(10, 8, 2, 2), nn.ConvTranspose2d(8, 6, 2, 2)
        self.merge2, self.merge1 = conv_bn(16, 8), conv_bn(12, 6)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = F.relu(self.down1(x))
        two = F.relu(self.down2(F.max_pool2d(one, 2)))
        bottom = F.relu(self.bottom(F.max_pool2d(two, 2)))
        up = F.relu(self.merge2(torch.cat((two, self.up2(bottom)), 1)))
        return self.head(F.relu(self.merge1(torch.cat([self.up1(up), one], dim=1))))


@network(2, 3, 8, 8)
class Inception(nn.Module):
    """Parallel branches of different windows, side by side; a flatten before the linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.one, self.three, self.five = conv_bn(8, 4, 1), conv_bn(8, 6), conv_bn(8, 3, 5)
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(8, 5, 1))
        self.squeeze = nn.Sequential(conv_bn(18, 7), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(28, 9), nn.ReLU(), nn.Linear(9, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        branches = [self.one(x), self.three(x), self.five(x), self.pool(x)]
        return self.head(self.squeeze(F.relu(torch.cat(branches, 1))))


class ShuffleUnit(nn.Module):
    """Half of the channels go through a depthwise branch, then both halves are shuffled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(
            conv_bn(half, half, 1), nn.ReLU(), conv_bn(half, half, groups=half), conv_bn(half, half, 1), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        x = torch.cat((kept, self.branch(changed)), dim=1)
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


@network(2, 3, 8, 8)
class ShuffleNet(nn.Module):
    """ShuffleNetV2: split, transform one half, shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 12)
        self.units = nn.Sequential(ShuffleUnit(12), ShuffleUnit(12))
        self.last = conv_bn(12, 10, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.last(self.units(F.relu(self.stem(x))))).mean([2, 3]))


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm over channels, perceptron, scaled by a parameter, added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.wise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.down(F.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


class ChannelsFirstNorm(nn.Module):
    """LayerNorm of images by the function."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return F.layer_norm(x, (x.shape[-1],), self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


@network(2, 3, 16, 16)
class ConvNeXt(nn.Module):
    """Patches, blocks, a normalised downsampling, blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 4, 4), ChannelsFirstNorm(6))
        self.blocks = nn.Sequential(ConvNeXtBlock(6), ConvNeXtBlock(6))
        self.down = nn.Sequential(ChannelsFirstNorm(6), nn.Conv2d(6, 8, 2, 2))
        self.last = ConvNeXtBlock(8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.last(self.down(self.blocks(self.stem(x)))).mean((-2, -1))))


@network(2, 3, 8, 8)
class ResNeXt(nn.Module):
    """Grouped convolutions in residual blocks, GroupNorm, a gate over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.PReLU(8))
        self.reduce = nn.Sequential(nn.Conv2d(8, 12, 1), nn.GroupNorm(12, 12), nn.ReLU())
        self.grouped = nn.Sequential(nn.Conv2d(12, 16, 3, padding=1, groups=4), nn.BatchNorm2d(16), nn.PReLU())
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.expand = nn.Sequential(nn.Conv2d(16, 8, 1), nn.GroupNorm(1, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.grouped(self.reduce(x))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        x = x + self.expand(y * gate.expand_as(y))
        return self.head(F.adaptive_avg_pool2d(F.relu(x), (1, 1)).flatten(1))


@network(2, 3, 8, 8)
class OptionA(nn.Module):
    """A shortcut without parameters: every other pixel, zeros for the channels that it lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = conv_bn(3, 6), conv_bn(6, 12, stride=2), conv_bn(12, 12)
        self.three, self.head = conv_bn(12, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3), "constant", 0)
        x = F.relu(self.two(F.relu(self.one(x))) + shortcut)
        x = F.relu(self.three(x) + torch.cat((x, x[:, :4].mul(0)), 1))
        return self.head(F.avg_pool2d(x, x.size(3)).squeeze())


@network(2, 4, 4, 4)
class SuperResolution(nn.Module):
    """Pixel shuffle, with what nearest-neighbour upsampling gives beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 20, 3, padding=1)
        self.shuffle, self.back = nn.PixelShuffle(2), nn.PixelUnshuffle(2)
        self.third = nn.Conv2d(11, 4, 3, padding=1)
        self.fourth, self.last = nn.Conv2d(16, 7, 1), nn.Conv2d(7, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        wide = torch.cat((self.shuffle(self.second(x)), F.interpolate(x, scale_factor=2.0)), 1)
        return self.last(self.fourth(self.back(self.third(wide))))


@network(2, 6, 24)
class Wave(nn.Module):
    """One-dimensional: gated units, InstanceNorm, transposed convolutions of all kinds, the same layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(6, 16, 3, padding=1)
        self.norm = nn.InstanceNorm1d(8, affine=True)
        self.twice = nn.Conv1d(8, 8, 3, padding=1)
        self.widen = nn.Sequential(nn.Conv1d(8, 12, 1), nn.BatchNorm1d(12), nn.Hardswish())
        self.grouped = nn.ConvTranspose1d(12, 8, 2, 2, groups=2)
        self.wise = nn.ConvTranspose1d(8, 16, 2, groups=8)
        self.doubled = nn.Conv1d(16, 32, 3, groups=16)
        self.last = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.glu(self.first(x), dim=1))
        x = x + self.twice(F.relu(self.twice(x)))
        x = self.doubled(self.wise(F.relu(self.grouped(self.widen(x)))))
        return self.last(x.amax(-1))


class Attention(nn.Module):
    """Multi-head attention written out, with separate projections, normalised queries and a bias for each head."""

    def __init__(self, width: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(self.size)
        self.bias = nn.Parameter(torch.randn(heads, tokens, tokens))

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = (
            layer(x).view(n, tokens, self.heads, self.size).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        scores = (self.norm(q) @ k.transpose(-2, -1)) * self.size**-0.5 + self.bias
        mixed = torch.matmul(F.softmax(scores, dim=-1), v)
        return self.out(mixed.permute(0, 2, 1, 3).reshape(n, tokens, self.heads * self.size))


@network(2, 3, 8, 8)
class Transformer(nn.Module):
    """A class token, positions, attention with separate projections, a gated perceptron, RMSNorm."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width))
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, 5)
        self.norm2 = nn.RMSNorm(width)
        self.gate, self.up, self.down = nn.Linear(width, 24), nn.Linear(width, 24), nn.Linear(24, width)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.size(0), -1, -1), x), 1) + self.position
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return self.head(x[:, 0])


@network(2, 3, 8, 8)
class Windows(nn.Module):
    """Attention within shifted windows, one projection, a learned bias for each offset, a mask."""

    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Conv2d(3, width, 1)
        self.norm, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(torch.randn(49, heads))
        pixel = torch.arange(16)
        row, column = pixel // 4, pixel % 4
        offset = 7 * (row[:, None] - row + 3) + column[:, None] - column + 3
        self.register_buffer("offset", offset)
        self.register_buffer("mask", torch.randn(16, 16))
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        shifted = torch.roll(self.norm(x.permute(0, 2, 3, 1)), (-2, -2), (1, 2))
        n, h, w, c = shifted.shape
        windows = shifted.view(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
        q, k, v = self.qkv(windows).reshape(-1, 16, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.table[self.offset.view(-1)].view(16, 16, self.heads).permute(2, 0, 1).unsqueeze(0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias + self.mask)
        mixed = self.proj(mixed.transpose(1, 2).flatten(2))
        mixed = mixed.view(n, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return self.head(x + torch.roll(mixed, (2, 2), (1, 2)).permute(0, 3, 1, 2))


@network(2, 3, 8, 8)
class NonLocal(nn.Module):
    """Attention between pixels without heads, and a Res2Net that treats parts of its channels one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 12)
        self.theta, self.phi, self.g = nn.Conv2d(12, 5, 1), nn.Conv2d(12, 5, 1), nn.Conv2d(12, 6, 1)
        self.out = nn.Conv2d(6, 12, 1)
        self.parts = nn.ModuleList(conv_bn(4, 4) for _ in range(2))
        self.last = nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        n, _, h, w = x.shape
        theta, phi, g = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))
        weights = torch.softmax(torch.bmm(theta.transpose(1, 2), phi), dim=-1)
        x = x + self.out(torch.bmm(weights, g.transpose(1, 2)).transpose(1, 2).reshape(n, 6, h, w))
        first, second, third = torch.split(x, [4, 4, 4], 1)
        second = self.parts[0](second)
        third = self.parts[1](third + second)
        return self.last(torch.cat((first, second, third), 1))


@network(2, 3, 8, 8)
class Parts(nn.Module):
    """Parts of tensors, taken and put together in all the ways that PyTorch has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 10, 1), nn.Conv2d(10, 12, 1)
        self.unflat, self.norm = nn.Unflatten(1, (3, 4)), nn.GroupNorm(3, 12)
        self.scale = nn.Parameter(torch.rand(10, 1))
        self.shuffle, self.mix = nn.ChannelShuffle(3), nn.Conv2d(12, 6, 1)
        self.last = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = self.stem(x).shape
        x = F.relu(self.stem(x).flatten(2) * self.scale).unflatten(dim=2, sizes=(h, w))
        x = torch.cat((x.narrow(1, 4, 6), torch.narrow(x, dim=1, start=0, length=c - 6)), dim=1)
        one, two, three = torch.tensor_split(x, 3, dim=1)
        x = self.wide(torch.cat((three[:, -2:], two, one, three[:, : c // 10]), 1))
        x = self.unflat(self.norm(x)).flip(2).movedim(2, 3).reshape(n, 3, h, 4, w).swapaxes(2, 3).flatten(1, 2)
        x = self.mix(self.shuffle(x)).select(3, 1)
        x = torch.stack((x, x.sigmoid()), 1).view(n, 2, -1, h // 2, 2).mean(-1).expand(-1, 2, 6, h // 2)
        return self.last(x.repeat(1, 1, 1, 2)[..., : h // 2].permute(0, 2, 1, 3)[:, :, 0].flatten(1))


@network(2, 3, 8, 8)
class Mixer(nn.Module):
    """Perceptrons over tokens and over channels in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 10, 2, 2)
        self.norm1, self.tokens1, self.tokens2 = nn.LayerNorm(10), nn.Linear(16, 8), nn.Linear(8, 16)
        self.norm2, self.channels1, self.channels2 = nn.LayerNorm(10), nn.Linear(10, 14), nn.Linear(14, 10)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens2(F.gelu(self.tokens1(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        x = x + self.channels2(F.gelu(self.channels1(self.norm2(x))))
        return self.head(x.mean(1))


@network(2, 3, 8, 8)
class Gates(nn.Module):
    """Gates over pixels and over channels, a bare scale, a norm of the norm, and channels that a softmax mixes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.pixels = nn.Conv2d(8, 1, 1)
        self.channels = nn.Conv1d(1, 1, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(1, 6, 1, 1))
        self.second, self.third = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 7, 1)
        self.fourth, self.last = nn.Conv2d(7, 5, 1), nn.Conv2d(5, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = self.second(x * torch.sigmoid(self.pixels(x)))
        x = self.third(x * self.scale / (1 + x.abs().mean((2, 3), keepdim=True)))
        pooled = x.mean((2, 3)).unsqueeze(1)
        x = x * torch.sigmoid(self.channels(pooled)).transpose(1, 2).unsqueeze(-1)
        return self.last(torch.softmax(self.fourth(x), dim=1))


@network(2, 3, 8, 8)
class LinearAttention(nn.Module):
    """Attention whose cost is linear in the tokens, by einsum, heads within the batch, and a product of two streams."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.size = heads, 3
        self.stem = nn.Conv2d(3, width, 2, 2)
        self.qkv, self.out = nn.Linear(width, 3 * heads * 3), nn.Linear(heads * 3, width)
        self.left, self.right = nn.Linear(width, 6), nn.Linear(width, 6)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).permute(0, 2, 1)
        n, t, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (
            part.reshape(n, t, self.heads, self.size).transpose(1, 2).reshape(n * self.heads, t, self.size)
            for part in (q, k, v)
        )
        context = torch.einsum("btd,bte->bde", k.softmax(1), v)
        mixed = torch.einsum("btd, bde -> bte", q, context)
        x = x + self.out(mixed.view(n, self.heads, t, self.size).transpose(1, 2).reshape(n, t, -1))
        return self.head(torch.einsum("nic,njc->nij", self.left(x), self.right(x)).mean(1))


class Random(nn.Module):
    """Random blocks after one another, each of which may change the width."""

    def __init__(self, seed: int, depth: int = 6) -> None:
        super().__init__()
        generator = random.Random(seed)
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        width, blocks = 12, []
        for _ in range(depth):
            kind = generator.choice(BLOCKS)
            block = kind(width, generator)
            blocks.append(block)
            width = block.outputs
        self.blocks = nn.Sequential(*blocks)
        self.flat = generator.random() < 0.5
        self.head = nn.Linear(width * 16 if self.flat else width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return self.head(x.flatten(1) if self.flat else x.mean((2, 3)))


class Convolve(nn.Module):
    """A convolution, grouped or not, and a random norm and activation."""

    def __init__(self, width: int, generator: random.Random) -> None:
        super().__init__()
        self.outputs = generator.choice([8, 12, 16])
        groups = generator.choice([g for g in (1, 1, 2, 4) if width % g == 0])
        self.conv = nn.Conv2d(width, self.outputs, generator.choice([1, 3]), padding="same", groups=groups)
        norms = [nn.BatchNorm2d(self.outputs), nn.GroupNorm(generator.choice([1, 2, 4]), self.outputs),
                 nn.InstanceNorm2d(self.outputs), nn.Identity()]  # fmt: skip
        self.norm = generator.choice(norms)
        self.activation = generator.choice([nn.ReLU(), nn.Sigmoid(), nn.Softplus(), nn.PReLU(self.outputs), nn.PReLU()])

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


class Add(nn.Module):
    """A residual branch, scaled by a parameter."""

    def __init__(self, width: int, generator: random.Random) -> None:
        super().__init__()
        self.outputs, middle = width, generator.choice([4, 8])
        self.one, self.two = conv_bn(width, middle), conv_bn(middle, width, 1)
        self.scale = nn.Parameter(torch.rand(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.two(torch.sigmoid(self.one(x)))


class Beside(nn.Module):
    """What a convolution gives, beside its input or a part of it."""

    def __init__(self, width: int, generator: random.Random) -> None:
        super().__init__()
        self.first = generator.choice([0, width // 2])
        self.conv = nn.Conv2d(width, 4, 3, padding=1)
        self.outputs = width - self.first + 4

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x[:, self.first :], self.conv(x).relu()), dim=1)


class Halves(nn.Module):
    """Half of the channels are filtered, then all are shuffled."""

    def __init__(self, width: int, generator: random.Random) -> None:
        super().__init__()
        self.outputs, self.half = width, width // 2
        self.conv = nn.Conv2d(self.half, self.half, 3, padding=1)
        self.shuffle = width % 2 == 0 and generator.random() < 0.5

    def forward(self, x: Tensor) -> Tensor:
        one, two = torch.split(x, [self.half, x.shape[1] - self.half], 1)
        x = torch.cat((two, self.conv(one)), 1)
        if self.shuffle:
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return x


class Wise(nn.Module):
    """A depthwise convolution with one or two filters for each channel, and a gate over channels."""

    def __init__(self, width: int, generator: random.Random) -> None:
        super().__init__()
        self.outputs = width * generator.choice([1, 2]) if width < 16 else width
        self.wise = nn.Conv2d(width, self.outputs, 3, padding=1, groups=width)
        self.squeeze, self.excite = nn.Conv2d(self.outputs, 3, 1), nn.Conv2d(3, self.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.wise(x)
        return x * self.excite(self.squeeze(F.adaptive_avg_pool2d(x, 1)).sigmoid()).sigmoid()


class Attend(nn.Module):
    """Attention between pixels, added."""

    def __init__(self, width: int, generator: random.Random) -> None:
        super().__init__()
        self.outputs, self.heads = width, generator.choice([2, 3])
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * self.heads * 4)
        self.proj = nn.Linear(self.heads * 4, width)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = self.qkv(tokens).reshape(n, h * w, 3, self.heads, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, self.heads * 4)
        return x + self.proj(mixed).transpose(1, 2).view(n, c, h, w)


class UpAndDown(nn.Module):
    """A transposed convolution or a pixel shuffle, and pooling back to the size."""

    def __init__(self, width: int, generator: random.Random) -> None:
        super().__init__()
        self.outputs = 8
        if generator.random() < 0.5:
            groups = generator.choice([g for g in (1, 2) if width % g == 0])
            self.up: nn.Module = nn.ConvTranspose2d(width, 8, 2, 2, groups=groups)
        else:
            self.up = nn.Sequential(nn.Conv2d(width, 32, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.up(x), 2)


class Gated(nn.Module):
    """A gated linear unit, and constants beside what it gives."""

    def __init__(self, width: int, generator: random.Random) -> None:
        super().__init__()
        self.conv, self.extra = nn.Conv2d(width, 12, 1), generator.choice([0, 3])
        self.outputs = 6 + 2 * self.extra

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(F.glu(self.conv(x), 1), (0, 0, 0, 0, self.extra, self.extra))


BLOCKS = (Convolve, Convolve, Add, Add, Beside, Halves, Wise, Attend, UpAndDown, Gated)
