"""A fixed program as plain PyTorch source and safetensors: to read, load and train on, without hwcomp or pickle."""

import keyword
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, fx, nn

from hwcomp.fix import FakeQuantize
from hwcomp.ops import Function, Fused, Slot, module_of
from hwcomp.program import Program
from hwcomp.quantizer import HALF, LIMITS

SHORT_PATHS = (("torch.nn.functional.", "F."), ("torch._C._nn.", "F."), ("torch._C._VariableFunctions.", "torch."))

HEADER = '''"""{name}, compiled by hwcomp: weights are rounded, and tensors are where the artifact stores integers.

    network = {cls}()
    network.load_state_dict(safetensors.torch.load_file("weights.safetensors"))
"""

import operator

import torch
import torch.nn.functional as F
from torch import nn


class {cls}(nn.Module):
'''


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramCode:
    """Source of a module and the tensors of its state, by name."""

    source: str
    state: dict[str, Tensor]


def program_code(program: Program, name: str) -> ProgramCode | None:
    """Return the source and state of a program without choices; None if it calls a module of the user's own code."""
    modules: dict[str, nn.Module] = {}
    attributes: dict[str, Tensor] = {}
    lines: list[str] = []
    names = _Names()
    for node in program.nodes:
        if node.op == "placeholder":
            names.of(node)
        elif node.op == "output":
            lines.append(f"return {_text(node.args[0], names.of)}")
        elif node.op == "get_attr":
            attributes[names.of(node)] = _attribute(program.module, str(node.target))
            lines.append(f"{names.of(node)} = self.attribute_{names.of(node)}")
        else:
            expression = _expression(node, names, modules)
            if expression is None:
                return None
            lines.append(f"{names.of(node)} = {expression}")
    cls = "".join(part.capitalize() for part in name.replace("-", "_").split("_")) or "Network"
    arguments = ", ".join(names.of(node) for node in program.nodes if node.op == "placeholder")
    body = [HEADER.format(name=name, cls=cls), "    def __init__(self) -> None:", "        super().__init__()"]
    body += [f"        self.{key} = {_constructor(module)}" for key, module in modules.items()]
    for key, tensor in attributes.items():
        shape = f"torch.zeros({tuple(tensor.shape)}, dtype={tensor.dtype})"
        body.append(f"        self.register_buffer('attribute_{key}', {shape})")
    body += ["", f"    def forward(self, {arguments}):", *(f"        {line}" for line in lines), ""]
    state = {f"{key}.{part}": tensor for key, m in modules.items() for part, tensor in m.state_dict().items()}
    state |= {f"attribute_{key}": tensor for key, tensor in attributes.items()}
    return ProgramCode(source="\n".join(body), state={key: t.detach().contiguous().clone() for key, t in state.items()})


def program_files(program: Program, name: str) -> dict[str, bytes]:
    """Return the files of a program, by their path in an artifact; none if it cannot be written as plain PyTorch."""
    code = program_code(program, name)
    if code is None:
        return {}
    return {"program/network.py": code.source.encode(), "program/weights.safetensors": save(code.state)}


class _Names:
    """Python identifiers for nodes."""

    def __init__(self) -> None:
        self.known: dict[fx.Node, str] = {}

    def of(self, node: fx.Node) -> str:
        """Return the identifier of a node."""
        text = node.name if node.name.isidentifier() and not keyword.iskeyword(node.name) else f"value_{node.name}"
        return self.known.setdefault(node, text)


def _expression(node: fx.Node, names: _Names, modules: dict[str, nn.Module]) -> str | None:
    module = module_of(node)
    inputs = [names.of(source) for source in node.all_input_nodes]
    if module is None:
        function = Function(node)
    elif isinstance(module, FakeQuantize):
        p = module.params
        if p.dtype == HALF:
            return f"{inputs[0]}.half().to({inputs[0]}.dtype)"
        low, high = LIMITS[p.dtype]
        return f"torch.fake_quantize_per_tensor_affine({inputs[0]}, {p.scale!r}, {p.zero_point}, {low}, {high})"
    elif isinstance(module, Fused) and isinstance(module[0], Function):
        kind = "relu6" if isinstance(module[1], nn.ReLU6) else "relu"
        return f"F.{kind}({_call(module[0], inputs)})"
    elif isinstance(module, Function):
        function = module
    elif _constructor(module) is not None:
        key = f"{names.of(node)}_op"
        modules[key] = module
        return f"self.{key}({', '.join(inputs)})"
    else:
        return None
    return _call(function, inputs)


def _call(function: Function, inputs: list[str]) -> str:
    """Return the call of a function or method on named tensors."""
    args, kwargs = function.template
    parts = [_text(arg, lambda slot: inputs[slot.index]) for arg in args]
    named = [f"{key}={_text(value, lambda slot: inputs[slot.index])}" for key, value in kwargs.items()]
    if function.is_method:
        return f"{parts[0]}.{function.target}({', '.join([*parts[1:], *named])})"
    target: Any = function.target
    path = f"{target.__module__}.{target.__name__}".replace("_operator.", "operator.")
    for prefix, short in SHORT_PATHS:
        path = path.replace(prefix, short)
    if target.__module__ in (None, "torch._C", "builtins"):
        path = target.__name__ if target.__module__ == "builtins" else f"torch.{target.__name__}"
    return f"{path}({', '.join([*parts, *named])})"


def _text(value: Any, tensor: Callable[[Any], str]) -> str:
    """Return the source text of an argument: constants as they are, tensors by name."""
    if isinstance(value, (fx.Node, Slot)):
        return tensor(value)
    if isinstance(value, (tuple, list)):
        items = ", ".join(_text(item, tensor) for item in value)
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"({items}{comma})" if isinstance(value, tuple) else f"[{items}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_text(item, tensor)}" for key, item in value.items()) + "}"
    if isinstance(value, slice):
        return f"slice({', '.join(_text(part, tensor) for part in (value.start, value.stop, value.step))})"
    return repr(value) if not isinstance(value, torch.dtype) else str(value)


def _constructor(module: nn.Module) -> str | None:
    """Return the source that builds a module of torch.nn; None for any other."""
    if isinstance(module, Fused):
        parts = [_constructor(part) for part in module]
        return None if None in parts else f"nn.Sequential({', '.join(str(part) for part in parts)})"
    if type(module).__module__.startswith("torch.nn.modules") and not list(module.children()):
        return f"nn.{type(module).__name__}({module.extra_repr()})"
    return None


def _attribute(module: nn.Module, path: str) -> Tensor:
    *parents, last = path.split(".")
    owner = module.get_submodule(".".join(parents)) if parents else module
    tensor = getattr(owner, last)
    assert isinstance(tensor, Tensor)
    return tensor
