"""What a node of the graph computes, in the field's terms, however it was written.

``nn.ReLU()``, ``F.relu``, ``torch.relu`` and ``x.relu()`` are all ``relu``; ``x + y``, ``torch.add`` and ``x.add(y)``
are all ``add``.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, fx, nn

from hwcomp.choice import Choice

MODULES: dict[type[nn.Module], str] = {
    nn.Conv1d: "conv1d", nn.Conv2d: "conv2d", nn.ConvTranspose2d: "conv_transpose2d", nn.Linear: "linear",
    nn.BatchNorm1d: "batch_norm", nn.BatchNorm2d: "batch_norm", nn.LayerNorm: "layer_norm",
    nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Hardtanh: "clip", nn.Hardswish: "hardswish", nn.SiLU: "silu",
    nn.Sigmoid: "sigmoid", nn.Hardsigmoid: "hardsigmoid", nn.GELU: "gelu", nn.Softmax: "softmax", nn.Tanh: "tanh",
    nn.LeakyReLU: "leaky_relu",
    nn.MaxPool2d: "max_pool2d", nn.AvgPool2d: "avg_pool2d", nn.AdaptiveAvgPool2d: "adaptive_avg_pool2d",
    nn.Flatten: "flatten", nn.Unflatten: "reshape", nn.Identity: "identity",
    nn.Dropout: "dropout", nn.Dropout2d: "dropout",
}  # fmt: skip

FUNCTIONS: dict[Any, str] = {
    operator.add: "add", operator.iadd: "add", torch.add: "add", "add": "add", "add_": "add",
    operator.mul: "mul", operator.imul: "mul", torch.mul: "mul", "mul": "mul", "mul_": "mul",
    torch.matmul: "matmul", operator.matmul: "matmul", torch.bmm: "matmul", "matmul": "matmul", "bmm": "matmul",
    F.relu: "relu", F.relu_: "relu", torch.relu: "relu", torch.relu_: "relu", "relu": "relu", "relu_": "relu",
    F.relu6: "relu6", F.hardswish: "hardswish", F.silu: "silu", F.hardsigmoid: "hardsigmoid", F.gelu: "gelu",
    F.sigmoid: "sigmoid", torch.sigmoid: "sigmoid", "sigmoid": "sigmoid", F.tanh: "tanh", torch.tanh: "tanh",
    F.leaky_relu: "leaky_relu", F.softmax: "softmax", torch.softmax: "softmax", "softmax": "softmax",
    F.max_pool2d: "max_pool2d", F.avg_pool2d: "avg_pool2d", F.adaptive_avg_pool2d: "adaptive_avg_pool2d",
    torch.mean: "mean", "mean": "mean", torch.cat: "cat", torch.concat: "cat",
    torch.flatten: "flatten", "flatten": "flatten", "view": "reshape", "reshape": "reshape", torch.reshape: "reshape",
    "contiguous": "identity", F.dropout: "dropout", torch.dropout: "dropout", "squeeze": "reshape",
    "unsqueeze": "reshape", torch.squeeze: "reshape", torch.unsqueeze: "reshape",
    torch.transpose: "transpose", "transpose": "transpose", torch.permute: "transpose", "permute": "transpose",
    F.scaled_dot_product_attention: "attention",
}  # fmt: skip

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}
"""Activations that every runtime fuses into the operator before them, and the module that computes each."""

WEIGHTED = frozenset({"conv1d", "conv2d", "linear"})
"""Operators with a weight of their own that can be quantised."""

SAME_VALUES = frozenset({"flatten", "reshape", "transpose", "max_pool2d", "identity", "dropout"})
"""Operators whose output holds only values of their input, so that both share one quantiser."""


class Fused(nn.Sequential):
    """An operator and the activation that the runtime computes in the same kernel."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Apply the operator to all inputs, then the activation to its result."""
        result: Tensor = self[0](*inputs)
        for module in list(self)[1:]:
            result = module(result)
        return result


class Normalised(nn.Sequential):
    """A convolution or linear layer and the BatchNorm that alone reads it, not folded, so that both train on."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a tensor among a call's constants."""

    index: int


def template_of(node: fx.Node) -> Any:
    """Return (args, kwargs) of a node's call with a `Slot` for each tensor, in the order of ``all_input_nodes``."""
    slots = {source: Slot(index) for index, source in enumerate(node.all_input_nodes)}
    return fx.node.map_arg((node.args, node.kwargs), cast("Any", slots.__getitem__))


def filled(template: Any, tensors: Sequence[Tensor]) -> Any:
    """Return (args, kwargs) of a template with the tensors in their slots."""
    return fx.node.map_aggregate(template, lambda leaf: tensors[leaf.index] if isinstance(leaf, Slot) else leaf)


class Function(nn.Module):
    """A function or method call of the graph as a module of tensors alone; constants are kept inside."""

    def __init__(self, node: fx.Node) -> None:
        super().__init__()
        self.is_method = node.op == "call_method"
        self.target = node.target
        self.template = template_of(node)

    def forward(self, *tensors: Tensor) -> Any:
        """Call the function with the tensors, in the order of ``node.all_input_nodes``, in their places."""
        args, kwargs = filled(self.template, tensors)
        if self.is_method:
            return getattr(args[0], str(self.target))(*args[1:], **kwargs)
        assert callable(self.target)
        return self.target(*args, **kwargs)


def module_of(node: fx.Node) -> nn.Module | None:
    """Return the module that a node calls, or None."""
    if node.op != "call_module":
        return None
    owner = node.graph.owning_module
    assert owner is not None
    return owner.get_submodule(str(node.target))


def anchor(module: nn.Module) -> nn.Module:
    """Return the operator inside a choice, a fused or a normalised module, or the module itself."""
    module = module.op if isinstance(module, Choice) else module
    while isinstance(module, (Fused, Normalised)):
        module = module[0]
    return module


def op_of(node: fx.Node) -> str:
    """Return what a node computes: "conv2d", "add", ...; its type in lower case where hwcomp has no word for it."""
    module = module_of(node)
    if module is not None:
        return op_of_module(module)
    if node.op in ("call_function", "call_method"):
        return FUNCTIONS.get(node.target, getattr(node.target, "__name__", str(node.target)))
    return node.op


def op_of_module(module: nn.Module) -> str:
    """Return what a module computes; of a choice or a fused one, what its operator does."""
    inner = anchor(module)
    if isinstance(inner, Function):
        return FUNCTIONS.get(inner.target, getattr(inner.target, "__name__", str(inner.target)))
    return MODULES.get(type(inner), type(inner).__name__.lower())


def tail_of(module: nn.Module | None) -> str | None:
    """Return the activation fused into a module, or None."""
    module = module.op if isinstance(module, Choice) else module
    return MODULES[type(module[1])] if isinstance(module, Fused) else None


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """Return the shape of a node's tensor, or None where it holds something else."""
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if meta is not None and hasattr(meta, "shape") else None


def is_float(node: fx.Node) -> bool:
    """Return whether a node holds one float32 tensor."""
    meta = node.meta.get("tensor_meta")
    return meta is not None and getattr(meta, "dtype", None) == torch.float32
