"""Program with choices -> the search space, and the kernels that the runtime executes for each candidate.

A site is one node: passes have already joined what the runtime fuses (see ``fuse_activation``). Where integers meet
float, a conversion runs; it belongs to the tensor, not to a site.
"""

from torch import fx, nn

from hwcomp.choice import Choice
from hwcomp.cost import Kernel
from hwcomp.ops import anchor, is_float, module_of, op_of, shape_of, tail_of
from hwcomp.program import Program
from hwcomp.scheme import FLOAT
from hwcomp.space import Edge, SearchSpace, Site


def search_space(program: Program) -> SearchSpace:
    """Return the sites and edges of a program with choices."""
    sites = tuple(_site(node) for node in program.nodes if _computes(node))
    edges = tuple(
        Edge(tensor=node.name, elements=_elements(node), readers=tuple(user.name for user in node.users))
        for node in program.nodes
        if node.op != "output" and is_float(node) and node.users
    )
    return SearchSpace(sites=sites, edges=edges)


def kernels(program: Program) -> dict[str, dict[str, Kernel]]:
    """Return site -> candidate -> kernel."""
    described: dict[str, dict[str, Kernel]] = {}
    for node in program.nodes:
        if _computes(node):
            site = _site(node)
            text = _describe(node)
            described[node.name] = {c: Kernel(op=site.op, scheme=c, shape=text) for c in site.candidates}
    return described


def boundary_kernels(program: Program, activation: str) -> dict[str, dict[str, Kernel]]:
    """Return tensor -> {"quantize", "dequantize"} -> kernel, for integers of the activation's type."""
    return {
        node.name: {op: Kernel(op=op, scheme=activation, shape=_text(node)) for op in ("quantize", "dequantize")}
        for node in program.nodes
        if node.op != "output" and is_float(node)
    }


def _computes(node: fx.Node) -> bool:
    """Return whether a node computes tensors; others handle shapes, and nothing is left of them at run time."""
    return node.op.startswith("call_") and "tensor_meta" in node.meta


def _site(node: fx.Node) -> Site:
    module = module_of(node)
    candidates = module.candidates if isinstance(module, Choice) else (FLOAT,)
    return Site(name=node.name, op=op_of(node), candidates=candidates)


def _describe(node: fx.Node) -> str:
    module = module_of(node)
    parts = [_text(source) for source in node.all_input_nodes]
    parts.append(f"->{_text(node)}")
    inner = anchor(module) if module is not None else None
    if isinstance(inner, (nn.Conv1d, nn.Conv2d)):
        window = f"k{inner.kernel_size} s{inner.stride} p{inner.padding} d{inner.dilation} g{inner.groups}"
        parts.append(window.replace(" ", "").replace("(", "").replace(")", ""))
    elif inner is not None and not list(inner.parameters()):
        parts.append(inner.extra_repr())
    tail = tail_of(module)
    return " ".join(part for part in (*parts, tail or "") if part)


def _text(node: fx.Node) -> str:
    return "x".join(str(size) for size in shape_of(node) or ())


def _elements(node: fx.Node) -> int:
    count = 1
    for size in shape_of(node) or ():
        count *= size
    return count
