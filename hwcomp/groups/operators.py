"""What each operator does to channels: one handler for each kind, found by its name however it is written."""

from typing import Any

from torch import fx, nn

from hwcomp.groups import layers, movement, products, reductions
from hwcomp.groups.call import Handler
from hwcomp.groups.einsum import einsum
from hwcomp.groups.elementwise import elementwise


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MOVES = _words("""
    reshape view flatten unflatten permute transpose swapaxes swapdims movedim moveaxis t T mT chunk split tensor_split
    unbind cat concat concatenate stack expand broadcast_to squeeze unsqueeze flip repeat tile repeat_interleave narrow
    select view_as reshape_as Flatten Unflatten
""")

ELEMENTWISE = _words("""
    add iadd radd sub isub rsub mul imul div truediv true_divide floor_divide remainder pow neg abs exp expm1 log log1p
    sqrt rsqrt square reciprocal sin cos tanh sigmoid relu relu6 leaky_relu elu selu celu gelu silu mish softplus
    softsign logsigmoid hardtanh hardswish hardsigmoid hardshrink softshrink threshold clamp clip clamp_min clamp_max
    sign round floor ceil erf where lerp addcmul addcdiv maximum minimum masked_fill eq ne lt le gt ge logical_and
    logical_or logical_not isnan nan_to_num dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout
    contiguous clone detach to float half bfloat16 double type type_as zeros_like ones_like full_like rand_like
    randn_like empty_like expand_as identity stochastic_depth
    Identity ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Softplus Softsign LogSigmoid Hardtanh Hardswish
    Hardsigmoid Hardshrink Softshrink Tanhshrink Threshold Tanh Sigmoid Dropout Dropout1d Dropout2d Dropout3d
    AlphaDropout FeatureAlphaDropout
""")

ALONG = _words("softmax log_softmax softmin normalize cumsum cumprod Softmax LogSoftmax Softmin")

REDUCTIONS = _words("mean sum amax amin max min prod var std norm logsumexp argmax argmin any all nanmean nansum")

RESIZED = [
    *(f"{kind}{n}d" for n in (1, 2, 3) for kind in (
        "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "lp_pool", "MaxPool", "AvgPool",
        "AdaptiveAvgPool", "AdaptiveMaxPool", "LPPool", "ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad",
        "CircularPad")),
    "UpsamplingNearest2d", "UpsamplingBilinear2d", "interpolate", "upsample", "Upsample",
]  # fmt: skip

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(MOVES, movement.moved),
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(ALONG, reductions.along),
    **dict.fromkeys(REDUCTIONS, reductions.reduction),
    **dict.fromkeys(RESIZED, movement.resized),
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), layers.convolution),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), layers.transposed_convolution),
    **dict.fromkeys(
        ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "InstanceNorm1d", "InstanceNorm2d",
         "InstanceNorm3d", "PReLU"), layers.channel_norm,
    ),
    **dict.fromkeys(("LayerNorm", "RMSNorm"), layers.layer_norm),
    **dict.fromkeys(("matmul", "bmm", "mm"), products.matrix_product),
    **dict.fromkeys(("pixel_shuffle", "PixelShuffle"), movement.pixel_shuffled),
    **dict.fromkeys(("pixel_unshuffle", "PixelUnshuffle"), movement.pixel_unshuffled),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle", "ChannelShuffle"), movement.channel_shuffled),
    **dict.fromkeys(("glu", "GLU"), movement.gated_linear_unit),
    "getitem": movement.indexed, "pad": movement.padded, "roll": movement.rolled,
    "einsum": einsum,
    "Linear": layers.linear, "Embedding": layers.embedding, "GroupNorm": layers.group_norm,
    "layer_norm": layers.functional_layer_norm, "scaled_dot_product_attention": products.attention,
}  # fmt: skip

QUERIES = frozenset({"size", "dim", "ndimension", "numel", "nelement", "len", "getattr", "is_floating_point"})
"""Functions and methods that ask a tensor for something else than a tensor."""

LIBRARY = ("torch", "torchvision", "_operator", "builtins", "math")


def name_of(node: fx.Node, module: nn.Module | None) -> str:
    """Return the name under which a node's operator is looked up; in brackets where it is not the library's."""
    if module is not None:
        kind = type(module)
        return kind.__name__ if kind.__module__.startswith("torch.nn.modules") else f"<{kind.__name__}>"
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
    if node.op == "call_function" and not _is_library(node.target):
        return f"<{name}>"
    if node.target is getattr and node.args[1] in ("T", "mT"):
        return str(node.args[1])
    return name.rstrip("_")


def _is_library(target: Any) -> bool:
    return (getattr(target, "__module__", None) or "torch").split(".")[0] in LIBRARY
