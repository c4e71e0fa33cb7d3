"""Program with choices -> the search space, and the kernels that the runtime executes for each candidate.

A site is one node: passes have already joined what the runtime fuses (see ``fuse_activation``). Where integers meet
float, a conversion runs; it belongs to the tensor, not to a site.
"""

import math
from typing import Any

from torch import fx, nn

from hwcomp.choice import Choice
from hwcomp.kernel import BOUNDARIES, Kernel, Kernels, Shape, Window
from hwcomp.ops import WEIGHTED, Function, Slot, anchor, is_float, module_of, op_of, shape_of, tail_of, template_of
from hwcomp.program import Program
from hwcomp.scheme import FLOAT, is_sparse, reads_integers, writes_integers
from hwcomp.space import Edge, SearchSpace, Site
from hwcomp.sparse_kernels.version import kernels_version

FUSABLE = frozenset(
    {"add", "mul", "relu", "relu6", "clip", "sigmoid", "hardsigmoid", "hardswish", "silu", "leaky_relu", "tanh", "gelu"}
)
"""Operators that a runtime may compute in the kernel of the product before them, if nobody else reads that."""

CONSTANTS_MATTER = frozenset({"transpose", "softmax", "mean", "cat", "attention"})
"""Functions whose constants say more than the shapes of their input and output."""


def search_space(program: Program) -> SearchSpace:
    """Return the sites and edges of a program with choices."""
    sites = tuple(_site(node) for node in program.nodes if _computes(node))
    edges = tuple(
        Edge(tensor=node.name, elements=_elements(node), readers=tuple(user.name for user in node.users))
        for node in program.nodes
        if node.op != "output" and is_float(node) and node.users
    )
    return SearchSpace(sites=sites, edges=edges)


def kernels_of(program: Program, activation: str) -> Kernels:
    """Return every kernel that a program with choices may run, for integers of the activation's type."""
    sites = {node.name: _site_kernels(node, activation) for node in program.nodes if _computes(node)}
    tensors = {
        node.name: {op: _conversion(node, op, activation) for op in BOUNDARIES}
        for node in program.nodes
        if node.op != "output" and is_float(node)
    }
    return Kernels(sites=sites, tensors=tensors)


def _site_kernels(node: fx.Node, activation: str) -> dict[str, Kernel]:
    site, module = _site(node), module_of(node)
    inner = anchor(module) if module is not None else None
    described = {}
    for candidate in site.candidates:
        has_integers = reads_integers(candidate) or writes_integers(candidate)
        described[candidate] = Kernel(
            op=site.op,
            scheme=candidate,
            activation=activation if has_integers else "",
            inputs=tuple(shape for source in node.all_input_nodes if (shape := shape_of(source)) is not None),
            output=shape_of(node),
            window=_window(inner) if isinstance(inner, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)) else None,
            detail=_described(node, inner, candidate).replace("|", "/"),
            tail=tail_of(module) or "",
        )
    return described


def _described(node: fx.Node, inner: nn.Module | None, candidate: str) -> str:
    """Return what else decides the speed: of a sparse scheme, which sparse kernels there are."""
    return f"kernels {kernels_version()}" if is_sparse(candidate) else _fused_into(node) or _detail(node, inner)


def _conversion(node: fx.Node, op: str, activation: str) -> Kernel:
    """Return the conversion of a tensor; who makes and reads it decides how it lies in memory before and after."""
    shape = shape_of(node)
    assert shape is not None
    readers = sorted({op_of(user) for user in node.users})
    detail = f"{op_of(node)}>{'+'.join(readers)}"
    return Kernel(op=op, scheme=activation, activation=activation, inputs=(shape,), output=shape, detail=detail)


def _computes(node: fx.Node) -> bool:
    """Return whether a node computes tensors; others handle shapes, and nothing is left of them at run time."""
    return node.op.startswith("call_") and "tensor_meta" in node.meta


def _site(node: fx.Node) -> Site:
    module = module_of(node)
    candidates = module.candidates if isinstance(module, Choice) else (FLOAT,)
    return Site(name=node.name, op=op_of(node), candidates=candidates)


def _window(module: nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d) -> Window:
    size = tuple(module.kernel_size)
    if module.padding == "same":
        padding: Shape = tuple(d * (k - 1) // 2 for d, k in zip(module.dilation, size, strict=True))
    else:
        padding = (0,) * len(size) if isinstance(module.padding, str) else tuple(module.padding)
    return Window(
        size=size,
        stride=tuple(module.stride),
        padding=padding,
        dilation=tuple(module.dilation),
        groups=module.groups,
    )


def _detail(node: fx.Node, inner: nn.Module | None) -> str:
    """Return the constants of a pooling, an activation or a function; weights are known by their shapes."""
    if inner is None or isinstance(inner, Function):
        template = inner.template if isinstance(inner, Function) else template_of(node)
        return " ".join(_constants(template)) if op_of(node) in CONSTANTS_MATTER else ""
    return "" if list(inner.parameters()) else inner.extra_repr()


def _fused_into(node: fx.Node) -> str:
    """Return "after conv2d" for an operator that may disappear in the product before it, else ""."""
    if op_of(node) not in FUSABLE:
        return ""
    products = [op_of(x) for x in node.all_input_nodes if op_of(x) in WEIGHTED and len(x.users) == 1]
    return f"after {products[0]}" if products else ""


def _constants(template: Any) -> list[str]:
    found: list[str] = []
    fx.node.map_aggregate(template, lambda leaf: found.append(str(leaf)) if not isinstance(leaf, Slot) else None)
    return found


def _elements(node: fx.Node) -> int:
    return math.prod(shape_of(node) or ())
